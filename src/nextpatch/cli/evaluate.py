"""`nextpatch evaluate-samples`: generated images against real ones, with the floor beside every figure."""

from __future__ import annotations

from dataclasses import dataclass

from nextpatch.core.text import shown
from nextpatch.tasks.evaluate.config import EvaluateConfig


@dataclass(frozen=True)
class EvaluateSamples:
    """Measure generated images against real ones: Fréchet and kernel distance (FID, KID), precision, recall, diversity.

    Beside every distance stands that of real images against real ones, of equal numbers. With --train, copies of
    training images are looked for, and the nearest are shown. Any features will do, the same for all that is compared.

    examples:
      nextpatch evaluate-samples samples --real photos/test --train photos/train --features runs/photos --out measured
      nextpatch evaluate-samples samples --real photos/test --features timm:vit_small_patch16_224 --out measured
      nextpatch evaluate-samples samples --real photos/test --features classifier.onnx --out measured --count 1000
    """

    config: EvaluateConfig


def run(args: EvaluateSamples) -> int:
    """Measure, print the tables and say where they are."""
    from nextpatch.tasks.evaluate.run import JSON, PICTURE, evaluate_samples

    config = args.config
    result = evaluate_samples(config)
    print(result)
    for name in (JSON, *([PICTURE] if config.train else [])):
        print(shown(config.out / name))
    return 0
