"""`nextpatch embed` and `nextpatch similar`: features of images as a file, and the nearest images in one."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from nextpatch.cli.classify import WEIGHTS
from nextpatch.cli.flags import img_size, layout, optional, pixel_range
from nextpatch.cli.verb import Output
from nextpatch.core.bounds import check_bounds
from nextpatch.core.progress import phase
from nextpatch.core.text import shown
from nextpatch.data.preprocessing import Layout
from nextpatch.runs.config import Device, Precision
from nextpatch.tasks.embed.config import EmbedConfig, Pool

_SIMILAR = Path("similar.png")


@dataclass(frozen=True)
class Embed:
    """Write the features of every image into one file, or into a folder of shards; stopped, it goes on where it was.

    examples:
      nextpatch embed ./photos --weights apple/aim-600M --out photos.parquet
      nextpatch embed ./photos --weights runs/photos --out patches.npy --pool patches
      nextpatch embed 'shards/{000..999}.tar' --weights apple/aim-1B --out features/ --layers 3,7,11 --each-layer --ray
    """

    data: Annotated[
        Positional[str], arg(metavar="DATA", help="a folder of images, tar shards, Parquet, a Hub data set or a URL")
    ]
    weights: Annotated[str, arg(metavar="WEIGHTS", help=WEIGHTS)]
    out: Annotated[Path, arg(metavar="FILE", help=".parquet, .npy or .safetensors, or a folder for one file per shard")]
    pool: Annotated[
        Pool, arg(help="one vector by the classifier's attention or by the mean of patches, or every patch by itself")
    ] = "auto"
    layers: Annotated[
        str, optional("SET", "blocks to average: 14-19, 3, 2,3, last or best (default: those that the weights say)")
    ] = ""
    each_layer: Annotated[FlagCreatePairsOff[bool], arg(help="a column for each block in place of their mean")] = False
    batch_size: Annotated[int, arg(help="images at a time")] = 32
    shard_images: Annotated[int, arg(help="images in one unit of work, done wholly or not at all")] = 8192
    workers: Annotated[int, arg(help="processes that decode images; 0: this one")] = 0
    device: Annotated[Device, arg(help="where to compute")] = "auto"
    precision: Annotated[Precision, arg(help="number format of matrix products")] = "auto"
    ray: Annotated[FlagCreatePairsOff[bool], arg(help="work on Ray: the cluster of $RAY_ADDRESS, or this machine")] = (
        False
    )
    img_size: Annotated[tuple[int, int] | None, *img_size()] = None
    pixel_range: Annotated[tuple[float, float] | None, *pixel_range()] = None
    layout: Annotated[Layout | None, *layout()] = None


@dataclass(frozen=True)
class Similar:
    """Show the images whose features are nearest to those of a query, as a picture.

    examples:
      nextpatch similar cat.jpg --index photos.parquet
      nextpatch similar cat.jpg --index photos.parquet --top 24 --out nearest.png
    """

    query: Annotated[Positional[Path], arg(metavar="IMAGE", help="an image file")]
    index: Annotated[Path, arg(metavar="FILE", help="features written by nextpatch embed, .parquet or a folder")]
    out: Annotated[Path, arg(metavar="FILE", help="where the picture goes")] = _SIMILAR
    top: Annotated[int, arg(help="how many images to show")] = 11
    weights: Annotated[str, optional("WEIGHTS", "the weights of the index, where they lie elsewhere now")] = ""
    data: Annotated[str, optional("DATA", "the images of the index, where they lie elsewhere now or behind a URL")] = ""
    device: Annotated[Device, arg(help="where to compute")] = "auto"


def run_embed(args: Embed) -> int:
    """Write the features and say what came out."""
    from nextpatch.dist.ranks import Ranks
    from nextpatch.tasks.embed.run import embed

    with Ranks.opened() as ranks:
        try:
            done = embed(EmbedConfig(**asdict(args)), ranks=ranks)
        except KeyboardInterrupt:
            if ranks.is_main:
                print("stopped; finished shards are kept, the same command goes on", file=sys.stderr)
            raise
        if not ranks.is_main:
            return 0
    left = f", {done.skipped:,} left out (named beside it)" if done.skipped else ""
    print(f"{done.out}: features of {done.images:,} images{left}")
    return 0


def picture(args: Similar) -> list[Output]:
    """What `similar` writes."""
    return [Output(_picture(args), file=True)]


def _picture(args: Similar) -> Path:
    from nextpatch.data.collection import outside
    from nextpatch.tasks.embed.similar import place_of_images

    return outside(args.out, [place_of_images(args.index, args.data)], default=args.out == _SIMILAR)


def run_similar(args: Similar) -> int:
    """Write the picture, and print what is on it."""
    from nextpatch.tasks.embed.similar import similar

    check_bounds(args, top=(1, 10**4))
    out = _picture(args)
    with phase("looking for the nearest images"):
        nearest = list(similar(args.query, args.index, out, args.top, args.weights, args.device, args.data))
    for found in nearest:
        print(f"{found.similarity:6.3f}  {shown(found.path)}")
    print(out)
    return 0
