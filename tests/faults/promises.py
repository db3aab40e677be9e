"""The table of promises: each one tried, and written down with its figure.

    export PYTHONPATH=tests
    python tests/faults/promises.py all [--work DIR] [--only P1 P12]   # goes on where it was; writes docs/promises.md
    python tests/faults/promises.py one P1 [--few]                     # prints {"figure": ..., "met": ...}

Every promise is measured by a process of its own and kept as a JSON file of this revision of the code; what is there is
not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch
from figure import ROOT
from table import PROMISES


def revision() -> str:
    """Of the code that is tried; what is not committed counts as another one at every minute."""
    named = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return named.stdout.strip() or "unknown"


def measure_all(work: Path, only: list[str]) -> int:
    """Measure what is not there yet, showing how far it is, and write the page."""
    work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for number, name in enumerate(PROMISES, 1):
        path = work / f"{name}.json"
        if path.exists() or (only and name not in only):
            continue
        print(
            f"[{number:2} of {len(PROMISES)}, {time.monotonic() - began:5.0f} s] {name} {PROMISES[name].text}",
            flush=True,
        )
        start = time.monotonic()
        done = subprocess.run([sys.executable, __file__, "one", name], capture_output=True, text=True, cwd=ROOT)
        last = (done.stdout.splitlines() or [""])[-1]
        found = (
            json.loads(last)
            if done.returncode == 0
            else {"figure": f"not measured: {done.stderr[-300:]}", "met": False}
        )
        found |= {"seconds": round(time.monotonic() - start), "revision": revision()}
        path.write_text(json.dumps(found))
        print(f"      {'met' if found['met'] else 'NOT MET'}: {found['figure']}  ({found['seconds']} s)", flush=True)
    (ROOT / "docs" / "promises.md").write_text(page(work), encoding="utf-8")
    return 0 if all(json.loads(p.read_text())["met"] for p in work.glob("P*.json")) else 1


def page(work: Path) -> str:
    """docs/promises.md."""
    rows = []
    for name, promise in PROMISES.items():
        path = work / f"{name}.json"
        found = json.loads(path.read_text()) if path.exists() else {"figure": "not measured", "met": None, "seconds": 0}
        met = {True: "yes", False: "**no**", None: "-"}[found["met"]]
        figure = found["figure"].replace("|", "/").replace("\n", " ")
        rows.append(f"| {name} | {promise.text} | {promise.bar} | {figure} | {met} | {found['seconds']} |")
    seconds = sum(json.loads(p.read_text())["seconds"] for p in work.glob("P*.json"))
    cpu = torch.cpu.get_capabilities().get("cpu_name", platform.machine())
    return HEAD.format(
        rows="\n".join(rows), minutes=seconds / 60, torch=torch.__version__, cores=os.cpu_count(), cpu=cpu,
        date=time.strftime("%Y-%m-%d"), python=platform.python_version(),
    )  # fmt: skip


HEAD = """\
# Promises, and how often each was tried

`runs/promises.sh` tries all of them on two CPU cores, goes on where it was stopped, and writes this page. Ranks are
processes that talk over gloo; a kill is SIGKILL, or `os._exit(137)` at a named point of the code; a failing disk is an
error injected at such a point. "Bit-identical" means: every loss in metrics.jsonl, the images of every step, and a
digest of all weights and the whole optimizer are those of a run that nothing interrupted.

Measured on {date}: {cores} CPU cores ({cpu}), torch {torch}, Python {python}, {minutes:.0f} minutes.

| | promise | bar | figure | met | s |
|---|---|---|---|---|---|
{rows}

What these figures do not show: NCCL, whose hangs and errors differ from gloo's; non-determinism of GPU kernels; pinned
memory; file systems other than a local one; power cuts (every file and folder is synced before a checkpoint gets its
name, but nobody pulled a plug). torchrun's own meeting point listens on all interfaces; that is PyTorch's, and it asks
nobody who they are: use a network of your own. Equal bits are promised for the same number of ranks and threads, the
same machine and the same PyTorch; another number of ranks sees the same batches and gets the same losses but for
rounding.
"""


def main() -> int:
    """One promise, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["all", "one"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--work", type=Path, default=ROOT / ".promises")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--few", action="store_true", help="a few tries instead of hundreds")
    args = parser.parse_args()
    if args.what == "all":
        return measure_all(args.work / revision(), args.only)
    if args.few:
        os.environ["FEW"] = "yes"
    print(json.dumps(PROMISES[args.names[0]].measure()._asdict()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
