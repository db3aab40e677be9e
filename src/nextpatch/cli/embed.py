"""`nextpatch embed` and `nextpatch similar`: features of images as a file, and the nearest images in one."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from nextpatch.cli.verb import Output
from nextpatch.core.bounds import check_bounds
from nextpatch.core.fields import Flag
from nextpatch.core.progress import phase
from nextpatch.core.text import shown
from nextpatch.runs.config import Device
from nextpatch.tasks.embed.config import EmbedConfig, SpaceName

_SIMILAR = Path("similar.png")


@dataclass(frozen=True)
class Embed:
    """Write the features of every image into one file, or into a folder of shards; a stopped run can be continued.

    examples:
      nextpatch embed ./photos --weights apple/aim-600M --out photos.parquet
      nextpatch embed ./photos --weights runs/photos --out patches.npy --pool patches
      nextpatch embed 'shards/{000..999}.tar' --weights apple/aim-1B --out features/ --layers 3,7,11 --each-layer --ray
    """

    config: EmbedConfig


@dataclass(frozen=True)
class Similar:
    """Show the images whose features are nearest to those of a query image, as a picture.

    examples:
      nextpatch similar cat.jpg --index photos.parquet
      nextpatch similar cat.jpg --index photos.parquet --top 24 --out nearest.png
      nextpatch similar cat.jpg --index photos.parquet --space standardized
    """

    query: Annotated[Path, Flag("IMAGE", positional=True)]
    """Image file to compare with."""
    index: Annotated[Path, Flag("FILE")]
    """Features written by nextpatch embed: a .parquet file or a folder."""
    out: Annotated[Path, Flag("FILE")] = _SIMILAR
    """Where to write the picture."""
    top: int = 11
    """How many images to show."""
    space: SpaceName = "auto"
    """Where features are compared by their cosine; whitened: in a space where all directions of the index count about
    the same; standardized: every value at its own scale; auto: whitened if the index has 1,000 images or more and their
    vectors are not a classifier's attention pooling, else standardized.
    """
    weights: Annotated[str, Flag("WEIGHTS")] = ""
    """Where the weights of the index are now (default: where they were)."""
    data: Annotated[str, Flag("DATA")] = ""
    """Where the images of the index are now, or a URL that has them (default: where they were)."""
    device: Device = "auto"
    """Where to compute."""


def run_embed(args: Embed) -> int:
    """Write the features and say what came out."""
    from nextpatch.dist.ranks import Ranks
    from nextpatch.tasks.embed.run import embed

    with Ranks.opened() as ranks:
        try:
            done = embed(args.config, ranks=ranks)
        except KeyboardInterrupt:
            if ranks.is_main:
                print("stopped; finished shards are saved, repeat the same command to continue", file=sys.stderr)
            raise
        if not ranks.is_main:
            return 0
    left = f", {done.skipped:,} skipped (listed in the file beside it)" if done.skipped else ""
    print(f"{done.out}: features of {done.images:,} images{left}")
    return 0


def picture(args: Similar) -> list[Output]:
    """What `similar` writes."""
    return [Output(_picture(args), file=True)]


def _picture(args: Similar) -> Path:
    from nextpatch.data.collection import outside
    from nextpatch.tasks.embed.index import place_of_images

    return outside(args.out, [place_of_images(args.index, args.data)], default=args.out == _SIMILAR)


def run_similar(args: Similar) -> int:
    """Write the picture, and print what is on it."""
    from nextpatch.tasks.embed.similar import similar

    check_bounds(args, top=(1, 10**4))
    out = _picture(args)
    with phase("looking for the nearest images"):
        nearest = similar(args.query, args.index, out, args.top, args.weights, args.device, args.data, args.space)
    for found in nearest:
        print(f"{found.similarity:6.3f}  {shown(found.path)}")
    print(out)
    return 0
