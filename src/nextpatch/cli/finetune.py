"""`nextpatch finetune`: adapt a trunk to labels, by low-rank adapters or wholly."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from nextpatch.tasks.finetune.config import FinetuneConfig


@dataclass(frozen=True)
class Finetune:
    """Adapt weights to labeled images: with rank-8 adapters on q, v and the output projection, or all weights.

    examples:
      nextpatch finetune --weights apple/aim-600M --data ./labeled --out runs/adapted
      nextpatch finetune --weights runs/photos --data ./labeled --test ./test --out runs/full --full
      nextpatch classify --weights runs/adapted/model new.jpg
    """

    config: FinetuneConfig


def run(args: Finetune) -> int:
    """Train, and say what came out."""
    from nextpatch.tasks.finetune.run import finetune

    try:
        done = finetune(args.config)
    except KeyboardInterrupt:
        print("stopped; finished epochs are saved, repeat the same command with --resume to continue", file=sys.stderr)
        raise
    low, high = done.answers.ci95
    print(f"test accuracy {done.answers.top1:.1f} % ({low:.1f} to {high:.1f}), {len(done.answers.labels):,} images")
    print(f"use it:  nextpatch classify --weights {done.model} IMAGE ...")
    return 0
