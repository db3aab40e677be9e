"""False alarms of the guard: healthy runs of many kinds, recorded once, and judged by the guard's rule afterwards.

    python benchmarks/guard.py OUT [--steps 600] [--only NAME ...]     record (going on where it stopped), then judge

Kinds: Fashion-MNIST (shipped), photos made of Debian's plasma-workspace-wallpapers, stamps of Debian's
tuxpaint-stamps-default, stripes and noise made here; few and many images, three learning rates, three batch sizes, two
number formats, two targets. Each run is one JSON file of losses and gradient norms, step by step. A run whose loss ends
above where it began is not healthy and is named. Then what healthy steps come to at most, and how many injected spikes
are caught. Half an hour to an hour on one CPU core.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from nextpatch.config import from_dict
from nextpatch.runs.config import GuardConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.tasks.pretrain.run import pretrain
from nextpatch.train.guard import GuardState, decide
from photos import make_photos

HALF = GuardConfig().window // 2  # the guard judges from then on
STAMPS = Path("/usr/share/tuxpaint/stamps")
FASHION = "demo:train"
SMALL = {"size": "nano", "embed_dim": 96, "depth": 3, "num_heads": 4, "head_width": 96, "head_depth": 2}
GREY = {"in_chans": 1, "img_size": [28, 28], "patch_size": 7}
COLOUR = {"in_chans": 3, "img_size": [48, 48], "patch_size": 8}
SETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # data set: (model values, data values)
    "fashion": (GREY, {"mean": [0.286], "std": [0.353], "crop_scale": [1.0, 1.0]}),
    "photos": (COLOUR, {"crop_scale": [0.05, 0.4]}),
    "stamps": (COLOUR, {}),
    "stripes": ({**GREY, "img_size": [32, 32], "patch_size": 4}, {"mean": [0.5], "std": [0.25]}),
    "noise": ({**GREY, "img_size": [24, 24], "patch_size": 8}, {"mean": [0.5], "std": [0.29]}),
    "few": (COLOUR, {}),
}
RUNS: list[tuple[str, float, int, str, str]] = [  # set, learning rate, batch, precision, target
    *[("fashion", lr, batch, "fp32", "norm_pixels") for lr in (1e-3, 2e-3, 4e-3) for batch in (32, 128)],
    ("fashion", 2e-3, 64, "bf16", "norm_pixels"), ("fashion", 2e-3, 64, "fp32", "pixels"),
    *[("photos", lr, 32, "fp32", "norm_pixels") for lr in (5e-4, 1e-3, 2e-3)],
    ("photos", 1e-3, 64, "bf16", "norm_pixels"), ("photos", 1e-3, 32, "fp32", "pixels"),
    *[("stamps", lr, 32, "fp32", "norm_pixels") for lr in (5e-4, 1e-3, 2e-3)],
    ("stamps", 1e-3, 16, "fp32", "norm_pixels"), ("stamps", 1e-3, 32, "fp32", "pixels"),
    ("stripes", 1e-3, 32, "fp32", "norm_pixels"),
    ("stripes", 4e-3, 32, "fp32", "norm_pixels"), ("stripes", 1e-3, 16, "bf16", "pixels"),
    ("noise", 1e-3, 32, "fp32", "norm_pixels"), ("few", 1e-3, 8, "fp32", "norm_pixels"),
    ("few", 2e-3, 16, "fp32", "norm_pixels"),
]  # fmt: skip
SPIKES = [(1, 5), (1, 8), (1, 10), (1, 20), (1, 100), (1.5, 1), (2, 1), (4, 1), (1.5, 5), (1.25, 10)]  # loss, norm


def main() -> None:
    """Record what is not recorded, then print the alarms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", nargs="*", default=[])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for number, run in enumerate(RUNS):
        file = args.out / f"{number:02}-{'-'.join(map(str, run))}.json"
        if not file.exists() and (not args.only or run[0] in args.only):
            file.write_text(json.dumps(recorded(number, run, args.out, args.steps)))
    print(table(args.out, judge_series))
    every = [json.loads(file.read_text()) for file in sorted(args.out.glob("*.json"))]
    print(extremes(every), *(caught(every, *spike) for spike in SPIKES), sep="\n")


def recorded(seed: int, run: tuple[str, float, int, str, str], out: Path, steps: int) -> dict[str, list[float]]:
    """Losses and gradient norms of a run."""
    name, lr, batch, precision, target = run
    model, data = SETS[name]
    values = {
        "model": {**SMALL, **model, "target": target},
        "data": {"train": [str(collection(name, out))], "val_images": 16, "workers": 0, **data},
        "optim": {"lr": lr},
        "train": {
            "steps": steps, "global_batch_size": batch, "micro_batch_size": batch, "precision": precision,
            "device": "cpu", "seed": seed, "val_every": steps, "checkpoint_every": steps, "log_every": 1, "threads": 1,
        },
        "guard": {"spike": "ignore"},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        done = pretrain(from_dict(Recipe, values), Path(place) / "run", console=Console(quiet=True))
        entries = [entry for entry in done.run.read_metrics() if entry["kind"] == "train"]
    return {"loss": [entry["loss"] for entry in entries], "norm": [entry["grad_norm"] for entry in entries]}


def collection(name: str, out: Path) -> Path | str:
    """The images of a set, made where they are not there."""
    folder = out / f"images-{name}"
    if name == "fashion":
        return FASHION
    if name == "stamps":
        return STAMPS
    if name == "photos":
        make_photos(folder, 100)
    elif not folder.exists():
        folder.mkdir()
        for number in range(24 if name == "few" else 800):
            Image.fromarray(pixels(name, np.random.default_rng(number))).save(folder / f"{number}.png")
    return folder


def pixels(name: str, rng: np.random.Generator) -> np.ndarray:
    """Noise, grey stripes, or stripes in colour."""
    if name == "noise":
        return rng.integers(0, 256, (24, 24), np.uint8)
    side = 48 if name == "few" else 32
    y, x = np.mgrid[:side, :side]
    wave = np.sin((x * rng.normal() + y * rng.normal()) * rng.uniform(0.1, 1.5) + 6 * rng.random())
    grey = np.clip(128 + 100 * wave + rng.normal(0, 6, wave.shape), 0, 255)
    return (
        np.stack([grey * c for c in rng.uniform(0.3, 1, 3)], 2).astype(np.uint8)
        if name == "few"
        else grey.astype(np.uint8)
    )


def judge_series(losses: list[float], norms: list[float]) -> list[int]:
    """The steps that the guard warns of."""
    cfg, state = GuardConfig(), GuardState()
    return [step for step, pair in enumerate(zip(losses, norms, strict=True), 1) if decide(cfg, state, *pair).trouble]


def table(out: Path, rule: Callable[[list[float], list[float]], list[int]]) -> str:
    """A line for each run: where its loss began and ended, and its alarms; then how many runs had one."""
    lines, alarmed, steps = [], 0, 0
    files = sorted(out.glob("*.json"))
    for file in files:
        series = json.loads(file.read_text())
        alarms = rule(series["loss"], series["norm"])
        first, last = np.mean(series["loss"][:10]), np.mean(series["loss"][-50:])
        alarmed, steps = alarmed + bool(alarms), steps + len(series["loss"])
        healthy = "" if last < first else "  NOT HEALTHY"
        lines.append(f"{file.stem:48} loss {first:.3f} -> {last:.3f}  alarms {len(alarms)} {alarms[:6]}{healthy}")
    return "\n".join(
        [*lines, f"{len(files)} runs, {steps} steps, runs with an alarm: {alarmed}", str(asdict(GuardConfig()))]
    )


def extremes(runs: list[dict[str, list[float]]]) -> str:
    """The largest norm and loss of a healthy step against the steps before it, over all runs."""
    times, deviations = [], []
    for run in runs:
        for step in range(HALF, len(run["loss"])):
            losses, norms = (np.array(run[name][max(0, step - 2 * HALF) : step]) for name in ("loss", "norm"))
            times.append(run["norm"][step] / np.exp(np.log(norms).mean()))
            deviations.append((run["loss"][step] - losses.mean()) / max(losses.std(), 0.01 * losses.mean()))
    return f"largest norm {max(times):.3g} times the usual; largest loss {max(deviations):.3g} deviations above"


def caught(runs: list[dict[str, list[float]]], loss_times: float, norm_times: float, places: int = 20) -> str:
    """How many of the spikes made of healthy steps, at `places` places of each run, are told."""
    rng, found = random.Random(0), 0
    for run in runs:
        for step in (rng.randrange(HALF, len(run["loss"])) for _ in range(places)):
            state = GuardState(*(run[name][max(0, step - 2 * HALF) : step] for name in ("loss", "norm")))
            spike = (run["loss"][step] * loss_times, run["norm"][step] * norm_times)
            found += bool(decide(GuardConfig(), state, *spike).trouble)
    return f"loss x {loss_times:g}, norm x {norm_times:g}: {found / (places * len(runs)):.0%} told"


if __name__ == "__main__":
    main()
