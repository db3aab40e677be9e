"""`nextpatch fit-head`: a pixel head for weights that have none, so that they can complete images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from nextpatch.cli import pretrain
from nextpatch.cli.flags import ShortFor, stated
from nextpatch.core.errors import UserError
from nextpatch.core.fields import Flag
from nextpatch.data.config import Images
from nextpatch.runs.config import Device, Weights


@dataclass(frozen=True)
class FitHead:
    """Fit a pixel head on the frozen trunk of given weights, with the pre-training objective.

    The released weights come without a pixel head. The head alone is saved, as OUT/pixel_head.safetensors; use both
    together as --weights WEIGHTS+OUT/pixel_head.safetensors. The report of the run shows completed images.

    examples:
      nextpatch fit-head --weights apple/aim-600M --data ./photos --out runs/head
      nextpatch fit-head --out runs/head --resume
    """

    out: Annotated[Path, Flag("DIR")]
    """Directory of the run: a new one, or with --resume an existing one."""
    weights: Annotated[Weights, ShortFor("train.init")] = ""
    """Weights whose trunk gets a head."""
    data: Annotated[tuple[Images, ...], Flag(repeated=True), ShortFor("data.train")] = ()
    steps: Annotated[int, ShortFor("train.steps")] = 0
    batch_size: Annotated[int, ShortFor("train.global_batch_size")] = 0
    lr: Annotated[float, ShortFor("optim.lr")] = 0.0
    target: Annotated[str, Flag("TARGET"), ShortFor("model.target")] = ""
    tokenizer: Annotated[str, Flag("FILE"), ShortFor("model.tokenizer")] = ""
    head_width: Annotated[int, ShortFor("model.head_width")] = 0
    head_depth: Annotated[int, ShortFor("model.head_depth")] = 0
    device: Annotated[Device, ShortFor("train.device")] = "auto"
    resume: bool = False
    """Continue the run at --out, with its own recipe."""


def run(args: FitHead) -> int:
    """The same as a pre-training whose trunk is frozen; returns the exit code."""
    if not args.resume and not (args.weights and args.data):
        raise UserError("fit-head needs --weights and --data; or --resume to continue")
    frozen = {"train": {"freeze_trunk": True}} if args.weights else {}
    return pretrain.run(pretrain.Pretrain(args.out, resume=args.resume, typed=stated(args, frozen)))
