"""`nextpatch density`, `compress` and `decompress`: likelihoods of images, and what they are worth in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nextpatch.cli.verb import Output
from nextpatch.core.progress import phase
from nextpatch.core.text import shown
from nextpatch.tasks.density.config import CompressConfig, DecompressConfig, DensityConfig

_LISTED = 10


@dataclass(frozen=True)
class Density:
    """Write the bits per dimension of every image, the strangest first, and a contact sheet of both ends of the list.

    examples:
      nextpatch density runs/photos ./new --out density.csv
      nextpatch density runs/photos ./new --against webp
    """

    config: DensityConfig


@dataclass(frozen=True)
class Compress:
    """Compress images of exactly the model's size into one file, without loss.

    examples:
      nextpatch compress runs/photos ./small --out small.nextpatch
    """

    config: CompressConfig


@dataclass(frozen=True)
class Decompress:
    """Restore the images of a compressed file, bit for bit, as PNG; digests prove that they are the same.

    examples:
      nextpatch decompress runs/photos small.nextpatch --out restored
    """

    config: DecompressConfig


def lists(args: Density) -> Sequence[Output]:
    """What `density` writes."""
    return [Output(args.config.out, file=True)]


def archives(args: Compress) -> Sequence[Output]:
    """What `compress` writes."""
    return [Output(args.config.out, file=True)]


def folders(args: Decompress) -> Sequence[Output]:
    """What `decompress` writes."""
    return [Output(args.config.out)]


def run_density(args: Density) -> int:
    """Write the list and print its beginning."""
    from nextpatch.data.skipped import Bad, by_kind
    from nextpatch.tasks.density.rank import TRAP, density

    config, bad = args.config, Bad()
    found = density(config, bad)
    for one in found[:_LISTED]:
        more = "" if one.surprise is None else f"  surprise {one.surprise:+.3f}"
        print(f"{one.bits_per_dim:7.3f} bits per dimension{more}  {shown(one.image)}{'  resized' * one.resized}")
    mean = sum(one.bits_per_dim for one in found) / len(found)
    skipped = f", {len(bad)} skipped: {by_kind(bad)}" if bad else ""
    print(f"{config.out}, {config.sheet}: {len(found):,} images, {mean:.3f} bits per dimension on average{skipped}")
    print(TRAP)
    return 0


def run_compress(args: Compress) -> int:
    """Write the file and say how large it is."""
    from nextpatch.core.output import check_file
    from nextpatch.data.collection import outside
    from nextpatch.data.sources.open import open_source
    from nextpatch.tasks.density.compress import compress
    from nextpatch.weights.load import load

    config = args.config
    check_file(outside(config.out, [config.data]))
    with phase("loading the weights and opening the images"):
        source, backbone = open_source(config.data), load(config.weights)
    made = compress(backbone, source, config.out, config.batch_size, config.threads)
    print(
        f"{made.out}: {made.images:,} images in {made.file_bytes:,} bytes, {made.bits_per_dim:.3f} bits per dimension; "
        f"{made.coded_bytes:,} of them are pixels, where the likelihoods claim {made.claimed_bits / 8:,.0f}"
    )
    return 0


def run_decompress(args: Decompress) -> int:
    """Write the images."""
    from nextpatch.tasks.density.restore import restore
    from nextpatch.weights.load import load

    config = args.config
    with phase("loading the weights"):
        backbone = load(config.weights)
    count = restore(backbone, config.file, config.out)
    print(f"{config.out}: {count:,} images, the same bit for bit as those that were compressed")
    return 0
