#!/usr/bin/env bash
# The demo: pre-train, probe and report on the embedded Fashion-MNIST.
#   bash runs/demo.sh [RUN] [more values for pretrain, such as --train.seed 1]
# Goes on where an earlier call stopped; a finished run is shown again. For a new one: another RUN, or remove the old.
set -euo pipefail
cd "$(dirname "$0")/.."
run=${1:-runs/demo}
export PATH="$PWD/.venv/bin:$PATH"

if [[ -e $run/probe.json ]]; then
    echo "$run is finished; for a new run: rm -r $run, or bash runs/demo.sh runs/another"
    exec nextpatch report "$run"
fi
if [[ -e $run/recipe.toml ]]; then
    nextpatch pretrain --out "$run" --resume "${@:2}"
else
    nextpatch pretrain demo --out "$run" "${@:2}"
fi
nextpatch probe "$run" --data demo:train --test demo:test \
    --labels 100 1000 10000 --layers each 0-2
echo "finished in $SECONDS s; look at $run/report.html"
