"""Makes what lies beside it: small outputs of every kind, by the revision that stands in `revision.txt`.

    .venv/bin/python tests/data/old/make.py /tmp/old     # once, before formats change; then they stay as they are

It works in an empty folder of that name, which recipes keep, and moves here what is worth keeping. A later revision
must load, resume and measure all of it: `tests/data/test_old.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
SMALL = ["--model.size", "nano", "--model.img-size", "8", "8", "--model.patch-size", "4", "--model.in-chans", "3",
         "--model.embed-dim", "16", "--model.depth", "2", "--model.num-heads", "2", "--model.head-width", "16",
         "--model.head-depth", "1"]  # fmt: skip
TRAIN = ["--train.steps", "6", "--train.global-batch-size", "4", "--train.micro-batch-size", "2",
         "--train.precision", "fp32", "--train.device", "cpu", "--train.val-every", "3",
         "--train.checkpoint-every", "3", "--train.keep-checkpoints", "4", "--train.threads", "1",
         "--data.val-images", "4", "--data.workers", "0",
         "--optim.warmup-steps", "2"]  # fmt: skip
CLASSES, IMAGES = ("cat", "dog"), 9


def photos(folder: Path, seed: int) -> None:
    """Two classes of small pictures."""
    rng = np.random.default_rng(seed)
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for image in range(IMAGES):
            pixels = rng.integers(0, 128, (8, 10, 3), np.uint8) + np.uint8(100 * number)
            Image.fromarray(pixels).save(folder / name / f"{image}.png")


def tool(place: Path, *words: str, ranks: int = 1) -> None:
    """A verb of this revision."""
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *several, "-m", "nextpatch", *words], check=True, cwd=place, env=env)


def made(place: Path) -> None:
    """Everything, in a folder."""
    photos(place / "photos", 0)
    photos(place / "test", 1)
    tool(place, "data", "pack", "photos", "--out", "shards")
    tool(place, "pretrain", "--data", "photos", "--out", "run", *SMALL, *TRAIN)
    tool(place, "pretrain", "--data", "photos", "--out", "sharded", *SMALL, *TRAIN, "--engine.shard", "2", ranks=2)
    tool(place, "probe", "run", "--data", "photos", "--test", "test", "--epochs", "2")
    tool(place, "embed", "photos", "--weights", "run", "--out", "features.parquet")
    tool(place, "export", "run", "--out", "exported.safetensors")
    words = ("--weights", "run", "--data", "photos", "--test", "test", "--out", "finetuned", "--epochs", "2")
    tool(place, "finetune", *words)


def main() -> int:
    """Made, and without what is large and can be made again."""
    place = Path(sys.argv[1])
    place.mkdir(parents=True)
    made(place)
    for path in [
        *place.glob("*/tensorboard"),
        *place.glob("sharded/checkpoints/*6"),
        *place.glob("finetuned/check*/*2"),
    ]:
        shutil.rmtree(path)
    for path in place.glob("*/report.*"):
        path.unlink()
    named = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True)
    (place / "revision.txt").write_text(named.stdout)
    for path in place.iterdir():
        shutil.move(path, HERE / path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
