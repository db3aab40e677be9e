"""`nextpatch export`: a run's weights as one safetensors file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from nextpatch.cli.flags import optional


@dataclass(frozen=True)
class Export:
    """Write the weights of a run as one safetensors file, with the model's config inside.

    Every finished run has this file already; this writes it for a run that was stopped, for an older checkpoint, or
    with the names of the released weights.

    examples:
      nextpatch export runs/photos
      nextpatch export runs/photos --step 4000 --layout released --out photos.safetensors
    """

    run: Annotated[Positional[Path], arg(metavar="RUN", help="directory of the run")]
    out: Annotated[Path | None, optional("FILE", "where to write it (default: RUN/model.safetensors)")] = None
    step: Annotated[int | None, optional("N", "the checkpoint of this step (default: the newest)")] = None
    layout: Annotated[Literal["ours", "released"], arg(help="names of the tensors")] = "ours"


def run(args: Export) -> int:
    """Write the file and say where."""
    from nextpatch.train.export import export_model
    from nextpatch.train.run import RunDir

    out = export_model(RunDir.open(args.run), args.out, args.step, args.layout)
    print(f"{out}  ({out.stat().st_size / 2**20:,.1f} MiB)")
    return 0
