"""`nextpatch fit-head`: a pixel head for weights that have none, so that they can complete images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, UseAppendAction, arg

from nextpatch.cli import pretrain
from nextpatch.cli.classify import WEIGHTS
from nextpatch.cli.flags import chosen, optional, read_as
from nextpatch.core.errors import UserError


@dataclass(frozen=True)
class FitHead:
    """Fit a pixel head on the frozen trunk of given weights, with the pre-training objective.

    The released weights come without one. The head is saved alone as OUT/pixel_head.safetensors; use both together as
    --weights WEIGHTS+OUT/pixel_head.safetensors. The report of the run shows completions.

    examples:
      nextpatch fit-head --weights apple/aim-600M --data ./photos --out runs/head
      nextpatch fit-head --out runs/head --resume
    """

    out: Annotated[Path, arg(metavar="DIR", help="directory of the run: a new one, or with --resume an existing one")]
    weights: Annotated[str, optional("WEIGHTS", WEIGHTS)] = ""
    data: Annotated[
        UseAppendAction[tuple[str, ...]], optional("DATA", "images to learn from, as nextpatch pretrain takes them")
    ] = ()
    steps: Annotated[int | None, optional("N", "optimizer steps (chosen from the number of images)"), chosen(int)] = (
        None
    )
    batch_size: Annotated[
        int | None, optional("N", "images per step (chosen from the number of images)"), chosen(int)
    ] = None
    lr: Annotated[float | None, optional("LR", "peak learning rate (default: 1e-3, the paper's)"), read_as(float)] = (
        None
    )
    head_width: Annotated[int | None, optional("N", "width of the head (default: the size's)"), chosen(int)] = None
    head_depth: Annotated[int | None, optional("N", "blocks of the head (default: the size's)"), chosen(int)] = None
    device: Annotated[str | None, optional("NAME", "where to compute (chosen from the machine)")] = None
    resume: Annotated[FlagCreatePairsOff[bool], optional("", "go on with the run at --out, by its own recipe")] = False


def run(args: FitHead) -> int:
    """The same as a pre-training whose trunk is frozen; returns the exit code."""
    blank = pretrain.arguments()(out=args.out, data_path=args.data, resume=args.resume)
    if not args.resume and not (args.weights and args.data):
        raise UserError("fit-head needs --weights and --data; or --resume to go on")
    train = replace(
        blank.train, init=args.weights or None, freeze_trunk=True if args.weights else None, steps=args.steps,
        global_batch_size=args.batch_size, device=args.device,
    )  # fmt: skip
    model = replace(blank.model, head_width=args.head_width, head_depth=args.head_depth)
    return pretrain.run(replace(blank, train=train, model=model, optim=replace(blank.optim, lr=args.lr)))
