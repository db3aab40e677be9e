"""`nextpatch finetune`: fine-tunes a trunk on labeled images, with low-rank adapters or all weights."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from nextpatch.cli.failure import Failure
from nextpatch.tasks.finetune.config import FinetuneConfig


@dataclass(frozen=True)
class Finetune:
    """Fine-tune weights on labeled images: with rank-8 adapters on q, v and the output projection, or all weights.

    examples:
      nextpatch finetune --weights apple/aim-600M --data ./labeled --out runs/adapted
      nextpatch finetune --weights runs/photos --data ./labeled --test ./test --out runs/full --full
      nextpatch classify --weights runs/adapted/model new.jpg
      torchrun --standalone --nproc-per-node gpu -m nextpatch finetune --weights apple/aim-1B --data D --out runs/large
    """

    config: FinetuneConfig


def run(args: Finetune) -> int:
    """Train, and say what came out; returns the exit code."""
    from nextpatch.dist.ranks import Ranks
    from nextpatch.tasks.finetune.run import StoppedError, finetune
    from nextpatch.train.step import BadStepError

    with Ranks.opened() as ranks:
        restarted = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
        try:
            done = finetune(replace(args.config, resume=args.config.resume or restarted), ranks=ranks)
        except StoppedError as stop:
            return stop.outcome.exit_code
        except BadStepError as error:
            raise Failure(str(error) if ranks.is_main else "") from error
        leads = ranks.is_main
    if leads:
        low, high = done.answers.ci95
        print(f"test accuracy {done.answers.top1:.1f} % ({low:.1f} to {high:.1f}), {len(done.answers.labels):,} images")
        print(f"use it:  nextpatch classify --weights {done.model} IMAGE ...")
    return 0
