#!/usr/bin/env bash
# Every promise about faults, tried on this machine: about half an hour on two CPU cores. Stopped, it goes on where it was.
# Results are kept for each revision of the code in .promises/, the page is docs/promises.md.
#
#   bash runs/promises.sh [--only P1 P12 ...]
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=tests
exec .venv/bin/python tests/faults/promises.py all "$@"
