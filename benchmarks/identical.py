"""Whether this tree trains as an earlier revision does, to the last bit: 20 steps of each, in one call.

    .venv/bin/python benchmarks/identical.py REVISION

Losses of all steps and the weights after them, in float32 and bfloat16, by one process and by two ranks, with the
demo's images and the paper's target. Bits depend on processor and PyTorch, so no digest of another machine means
anything here: both trees run in the same call. Exit code 1 where anything differs.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open

ROOT = Path(__file__).parents[1]
STEPS = 20
TIMES = {"elapsed_s", "images_per_s", "tflops"}
TOLD = {"chunk_loss", "chunk_start", "patch_loss"}  # follow from what is compared, and were told otherwise before
WORDS = ["--data", "demo:test", "--model", "nano", "--train.steps", str(STEPS), "--train.global-batch-size", "16",
         "--train.micro-batch-size", "8", "--train.log-every", "1", "--train.val-every", "10", "--train.threads", "1",
         "--train.device", "cpu", "--data.val-images", "64", "--data.workers", "0", "--data.crop-scale", "0.4", "1",
         "--optim.warmup-steps", "5"]  # fmt: skip


class Outcome(NamedTuple):
    """Digests of what a run came to."""

    losses: str
    weights: str
    last: float


def trained(tree: Path, out: Path, precision: str, ranks: int) -> Outcome:
    """A run of one tree."""
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    env = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    words = [*several, "-m", "nextpatch", "pretrain", "--out", str(out), *WORDS, "--train.precision", precision]
    done = subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True, cwd=out.parent)
    if done.returncode:
        sys.exit(f"{tree}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    entries = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    kept = [
        {k: v for k, v in entry.items() if k not in TIMES | TOLD and not k.startswith("flipped")} for entry in entries
    ]
    weights = hashlib.sha256()
    with safe_open(out / "model.safetensors", "pt") as file:
        for name in sorted(file.keys()):
            weights.update(name.encode() + file.get_tensor(name).contiguous().numpy().tobytes())
    losses = hashlib.sha256(json.dumps(kept).encode()).hexdigest()
    return Outcome(losses[:16], weights.hexdigest()[:16], entries[-1]["loss"])


def main() -> int:
    """All four pairs."""
    revision = sys.argv[1]
    differs = 0
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "tree"
        subprocess.run(["git", "worktree", "add", "--detach", "--quiet", str(tree), revision], cwd=ROOT, check=True)
        try:
            print(f"{'':14}{'losses':>18}{'weights':>18}{'last loss':>12}   as {revision}")
            for number, (precision, ranks) in enumerate((p, r) for p in ("fp32", "bf16") for r in (1, 2)):
                then = trained(tree, Path(name) / f"then{number}", precision, ranks)
                now = trained(ROOT, Path(name) / f"now{number}", precision, ranks)
                differs += then != now
                words = "the same" if then == now else f"DIFFERENT: {then.losses} {then.weights} {then.last:.6f}"
                case = f"{precision}, {ranks} rank{'s' * (ranks > 1)}"
                print(f"{case:14}{now.losses:>18}{now.weights:>18}{now.last:12.6f}   {words}", flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=False)
    return differs > 0


if __name__ == "__main__":
    sys.exit(main())
