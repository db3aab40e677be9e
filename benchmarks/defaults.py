"""What a short pre-training on a laptop should be: one change at a time from a base, at equal time, as a study.

    python benchmarks/defaults.py fashion --minutes 5 --out defaults-fashion.toml
    nextpatch study defaults-fashion.toml --out studies/defaults-fashion --runs studies/runs --jobs 2

or with `clipart` in place of `fashion`, where ./clip is what benchmarks/clipart.py made. Every variant is trained for
as many steps as fit into --minutes of one core; its speed is measured first, as the processor time of 200 steps (which
other programs at work hardly change), so a study file holds for the machine that wrote it. --only NAME ... leaves
others out. --heads compares objectives in place of defaults: whether a head that generates helps or hurts features.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

Tables = dict[str, dict[str, Any]]
BASE: Tables = {
    "model": {"size": "nano", "embed_dim": 96, "depth": 12, "num_heads": 3, "head_width": 96, "head_depth": 6},
    "data": {"flip": 0.5, "crop_scale": [0.4, 1.0], "workers": 0},
    "optim": {"lr": 3e-3},
    "train": {"global_batch_size": 64},
}
COLLECTIONS: dict[str, tuple[Tables, dict[str, Any]]] = {
    "fashion": (
        {
            "model": {"img_size": [28, 28], "patch_size": 4, "in_chans": 1},
            "data": {"train": ["demo:train"], "val_images": 1000, "mean": [0.286], "std": [0.353]},
        },
        {"data": "demo:train", "test": "demo:test"},
    ),
    "clipart": (
        {
            "model": {"img_size": [64, 64], "patch_size": 8, "in_chans": 3},
            "data": {
                "train": ["clip/unlabeled"], "val_images": 500,
                "mean": [0.850, 0.830, 0.802], "std": [0.292, 0.306, 0.336],
            },
        },
        {"data": "clip/train", "test": "clip/test"},
    ),
}  # fmt: skip
PATCHES = {"fashion": (7, 2), "clipart": (16, 4)}  # larger and smaller
VARIANTS: dict[str, Tables] = {
    "base": {},
    "whole": {"data": {"crop_scale": [1.0, 1.0]}},
    "small-crops": {"data": {"crop_scale": [0.2, 1.0]}},
    "shallow-wide": {"model": {"embed_dim": 192, "depth": 3, "head_width": 192, "head_depth": 3}},
    "nano": {"model": {"embed_dim": 128, "depth": 6, "num_heads": 2, "head_width": 128}},
    "tiny": {"model": {"embed_dim": 192, "depth": 12, "head_width": 192, "head_depth": 12}},
    "narrow": {"model": {"embed_dim": 64, "depth": 12, "num_heads": 2, "head_width": 64}},
    "short-head": {"model": {"head_depth": 2}},
    "causal": {"model": {"attention": "causal"}},
    "masked": {"model": {"objective": "masked", "mask_ratio": 0.75}},
    "pixels": {"model": {"target": "pixels"}},
    "lr-1e-3": {"optim": {"lr": 1e-3}},
    "lr-6e-3": {"optim": {"lr": 6e-3}},
    "batch-32": {"train": {"global_batch_size": 32}},
    "batch-128": {"train": {"global_batch_size": 128}},
}
HEADS: dict[str, Tables] = {
    "paper": {},
    "paper-causal": {"model": {"attention": "causal"}},
    "flow": {"model": {"objective": "generate", "head": "flow"}},
    "flow-prefix": {"model": {"objective": "generate", "head": "flow", "attention": "prefix"}},
    "diffusion": {"model": {"objective": "generate", "head": "diffusion"}},
    "density": {"model": {"objective": "generate", "head": "density"}},
}
FIRST, MEASURED = 20, 200  # steps before the measured ones, and those


def main() -> None:
    """Measure every variant's speed, write the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", choices=COLLECTIONS)
    parser.add_argument("--minutes", type=float, default=5.0, help="of one core, for every run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--heads", action="store_true", help="objectives and heads, in place of defaults")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    own, probe = COLLECTIONS[given.collection]
    larger, smaller = PATCHES[given.collection]
    sizes = {"large-patches": larger, "small-patches": smaller}
    variants = HEADS if given.heads else VARIANTS | {name: {"model": {"patch_size": n}} for name, n in sizes.items()}
    what = "Heads that generate" if given.heads else "Defaults of a short run"
    lines = [f'title = "{what}: {given.collection}, {given.minutes:g} minutes of one core"']
    lines += [f"seeds = {given.seeds}", 'equal = "the question is what fits into the same time"']
    lines += tables("recipe", merged(BASE, own))
    lines += tables("", {"probe": {**probe, "labels": [1000], "probes": ["attentive", "linear", "knn"]}})
    for name, values in variants.items():
        if not given.only or name in given.only:
            batch = values.get("train", {}).get("global_batch_size", 64)
            rate = images_per_s(merged(merged(BASE, own), values))
            steps = max(20, round(rate * given.minutes * 60 / batch))
            print(f"{name}: {rate:.0f} images/s, {steps:,} steps", flush=True)
            lines += tables(f"variants.{name}", merged(values, {"train": {"steps": steps}}))
    given.out.write_text("\n".join(lines) + "\n")


def merged(below: Tables, above: Tables) -> Tables:
    """Tables with those of `above` over them."""
    return {name: {**below.get(name, {}), **above.get(name, {})} for name in {**below, **above}}


def tables(above: str, values: Tables) -> list[str]:
    """The values as lines of TOML."""
    lines = []
    for name, table in values.items():
        lines += ["", f"[{above}.{name}]" if above else f"[{name}]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return lines


def images_per_s(recipe: Tables) -> float:
    """Of a run on one core, by its processor time: what a longer run takes beyond a shorter one."""
    batch = recipe["train"]["global_batch_size"]
    return float(batch * MEASURED / (processor_s(recipe, FIRST + MEASURED) - processor_s(recipe, FIRST)))


def processor_s(recipe: Tables, steps: int) -> float:
    """Seconds of processor time that a run of so many steps takes, its start included."""
    own = {"train": {"steps": steps, "device": "cpu", "threads": 1}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.toml"
        path.write_text("\n".join(tables("", merged(recipe, own))) + "\n")
        before = spent()
        command = [sys.executable, "-m", "nextpatch", "pretrain", str(path), "--out", str(Path(folder) / "run")]
        subprocess.run(command, check=True, capture_output=True)
        return spent() - before


def spent() -> float:
    """Processor time of all processes that were started and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
