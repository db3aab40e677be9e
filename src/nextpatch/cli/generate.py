"""`nextpatch sample`, `complete`, `inpaint` and `upscale`: pictures of weights that generate."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from nextpatch.cli.verb import Output
from nextpatch.tasks.generate.config import CompleteConfig, InpaintConfig, SampleConfig, UpscaleConfig


@dataclass(frozen=True)
class SampleImages:
    """Make images from nothing, with weights that learned to generate (nextpatch pretrain --model.head flow).

    Image i depends on the weights, the seed, i and the settings only. settings.json beside the images repeats them.

    examples:
      nextpatch sample runs/photos -n 64 --out samples
      nextpatch sample runs/photos -n 64 --label cat --label dog --guidance 2 --out animals
      nextpatch sample --from samples/settings.json --out again
    """

    config: SampleConfig


@dataclass(frozen=True)
class CompleteImage:
    """Keep the upper rows of an image and make the rest, several times.

    examples:
      nextpatch complete runs/photos photo.jpg --rows 8 -n 4 --out completions
      nextpatch complete runs/photos photo.jpg --average 16 -n 1 --out expected
    """

    config: CompleteConfig


@dataclass(frozen=True)
class InpaintImage:
    """Fill the holes of an image, several times; all other pixels come back as they are.

    Holes are white in the mask, an image of the same size. An image larger than the model is filled in tiles.

    examples:
      nextpatch inpaint runs/photos photo.jpg --mask mask.png -n 4 --out inpainted
      nextpatch inpaint runs/photos photo.jpg --box 40,60,32,24 --average 16 -n 1 --out expected
    """

    config: InpaintConfig


@dataclass(frozen=True)
class UpscaleImage:
    """Enlarge an image, several times, with weights that learned it (nextpatch pretrain --model.upscale 2).

    Made smaller again by the mean of pixels, each result is the image that was given, to the last bit.

    examples:
      nextpatch upscale runs/photos small.jpg --factor 2 -n 4 --out enlarged
      nextpatch upscale runs/photos small.jpg --average 16 -n 1 --out expected
    """

    config: UpscaleConfig


Args = SampleImages | CompleteImage | InpaintImage | UpscaleImage


def outputs(args: Args) -> list[Output]:
    """The folder that it writes into."""
    return [Output(args.config.out)]


def run(args: Args) -> int:
    """Make the pictures, and say where they are."""
    from nextpatch.tasks.generate.run import generate, inpaint, upscale

    config = args.config
    try:
        if isinstance(config, InpaintConfig):
            done = inpaint(config)
        else:
            done = upscale(config) if isinstance(config, UpscaleConfig) else generate(config)
    except KeyboardInterrupt:
        print(f"stopped; pictures that were finished are in {config.out}", file=sys.stderr)
        raise
    many = "s" if done.images > 1 else ""
    print(f"{done.out}: {done.images:,} image{many}, shown by sheet.png, repeated by settings.json")
    return 0
