"""`nextpatch finetune`: adapt a trunk to labels, by low-rank adapters or wholly."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, arg

from nextpatch.cli.classify import WEIGHTS
from nextpatch.cli.flags import chosen, img_size, layout, optional, pixel_range, read_as
from nextpatch.data.preprocessing import Layout
from nextpatch.runs.config import Device, Precision
from nextpatch.runs.sinks.registry import SinkName


@dataclass(frozen=True)
class Finetune:
    """Adapt weights to labeled images: rank-8 adapters on q, v and the output projection, or all weights.

    examples:
      nextpatch finetune --weights apple/aim-600M --data ./labeled --out runs/adapted
      nextpatch finetune --weights runs/photos --data ./labeled --test ./test --out runs/full --full
      nextpatch classify --weights runs/adapted/model new.jpg
    """

    weights: Annotated[str, arg(metavar="WEIGHTS", help=WEIGHTS)]
    data: Annotated[str, arg(metavar="PATH", help="labeled images to learn from: one folder per class, or Parquet")]
    out: Annotated[Path, arg(metavar="DIR", help="where the results go: a new directory")]
    test: Annotated[str, optional("PATH", "labeled images to measure on (default: a fifth of --data, set aside)")] = ""
    full: Annotated[FlagCreatePairsOff[bool], arg(help="all weights learn, in place of adapters")] = False
    rank: Annotated[int, arg(help="of the adapters")] = 8
    alpha: Annotated[int, arg(help="the adapters are scaled by alpha / rank")] = 8
    lr: Annotated[float, optional("LR", "peak learning rate (default: 1e-3, or 1e-4 with --full)"), chosen(float)] = 0.0
    layer_decay: Annotated[float, arg(help="with --full: the learning rate's, from block to block downwards")] = 0.75
    epochs: Annotated[
        int, optional("N", "passes over the images (default: 8 to 100, by their number)"), chosen(int)
    ] = 0
    batch_size: Annotated[
        int, optional("N", "images in an update (default: 16 to 512, by their number)"), chosen(int)
    ] = 0
    warmup_epochs: Annotated[float, arg(help="epochs with a rising learning rate")] = 0.0
    weight_decay: Annotated[float, arg(help="of matrices; biases and norms do not decay")] = 0.1
    clip_norm: Annotated[float, arg(help="largest norm of the gradient")] = 3.0
    min_lr: Annotated[float, arg(help="learning rate at the end")] = 1e-5
    mixup: Annotated[float, arg(help="alpha of mixup; 0: none")] = 0.8
    augment: Annotated[bool, arg(help="RandAugment and colour jitter beside crops and flips")] = True
    layers: Annotated[str, optional("SET", "blocks whose mean is read (default: as the weights say)")] = ""
    overlap: Annotated[
        Literal["refuse", "leave-out", "keep"], arg(help="test images that are among the training images as well")
    ] = "refuse"
    seed: Annotated[int, arg(help="of order, augmentation and start")] = 0
    workers: Annotated[int, arg(help="processes that decode images; 0: this one")] = 0
    micro_batch_size: Annotated[int, arg(help="images at a time; a matter of memory only")] = 32
    device: Annotated[Device, arg(help="where to compute")] = "auto"
    precision: Annotated[Precision, arg(help="number format of matrix products")] = "auto"
    sinks: Annotated[
        tuple[SinkName, ...],
        optional("NAME", "where the figures go beside metrics.jsonl (default: TensorBoard, where it is installed)"),
        read_as(tuple[SinkName, ...]),
    ] = ("auto",)
    resume: Annotated[FlagCreatePairsOff[bool], arg(help="go on after the last finished epoch")] = False
    img_size: Annotated[tuple[int, int] | None, *img_size()] = None
    pixel_range: Annotated[tuple[float, float] | None, *pixel_range()] = None
    layout: Annotated[Layout | None, *layout()] = None


def run(args: Finetune) -> int:
    """Train, and say what came out."""
    from nextpatch.tasks.finetune.config import FinetuneConfig
    from nextpatch.tasks.finetune.run import finetune

    try:
        done = finetune(FinetuneConfig(**asdict(args)))
    except KeyboardInterrupt:
        print("stopped; finished epochs are kept, the same command with --resume goes on", file=sys.stderr)
        raise
    low, high = done.answers.ci95
    print(f"test accuracy {done.answers.top1:.1f} % ({low:.1f} to {high:.1f}), {len(done.answers.labels):,} images")
    print(f"use it:  nextpatch classify --weights {done.model} IMAGE ...")
    return 0
