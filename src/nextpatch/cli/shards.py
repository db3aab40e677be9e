"""`nextpatch data pack`, `index` and `verify`: tar shards, their indexes and their manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from nextpatch.core.bounds import WORKERS, check_bounds
from nextpatch.core.fields import Flag
from nextpatch.core.progress import Meter, phase
from nextpatch.core.text import format_bytes, shown
from nextpatch.data.config import Images
from nextpatch.tasks.curate.config import Packing

CORES = (-1, WORKERS[1])


@dataclass(frozen=True)
class Pack:
    """Pack images into tar shards with a manifest: their bytes as they are, the order shuffled once.

    The same images and settings give the same bytes. If it is interrupted, repeat the same command to continue.

    examples:
      nextpatch data pack ./photos --out shards
    """

    data: Annotated[Images, Flag(positional=True)]
    """Images to pack."""
    out: Annotated[Path, Flag("DIR")]
    """Where to write the shards: a new folder, or one whose packing was interrupted."""
    config: Packing
    workers: int = -1
    """Number of processes; -1: one for each core."""


@dataclass(frozen=True)
class Index:
    """Read tar shards once and write their indexes and manifest, as training does when it first meets them.

    examples:
      nextpatch data index ./shards
      nextpatch data index 'shards/{00000..00099}.tar'
    """

    shards: Annotated[str, Flag("SHARDS", positional=True)]
    """A folder of tar shards, or a pattern such as 'shards/{00000..00099}.tar'."""
    accept_damage: bool = False
    """Index the shards as they are now, even if they differ from the manifest."""
    workers: int = -1
    """Number of processes; -1: one for each core."""


@dataclass(frozen=True)
class Verify:
    """Read all of the tar shards and compare every byte with their manifest; the exit code is 1 if any differs.

    examples:
      nextpatch data verify ./shards
    """

    shards: Annotated[str, Flag("SHARDS", positional=True)]
    """A folder of tar shards, or a pattern such as 'shards/{00000..00099}.tar'."""
    workers: int = -1
    """Number of processes; -1: one for each core."""


def pack(args: Pack) -> int:
    """Pack, and say what came of it."""
    from nextpatch.core.text import shown
    from nextpatch.data.collection import outside
    from nextpatch.data.skipped import by_kind
    from nextpatch.data.sources.open import open_source
    from nextpatch.tasks.curate.pack import BAD, pack

    check_bounds(args, workers=CORES)
    outside(args.out, [args.data])
    with phase("opening the images"):
        source = open_source(args.data)
    made = pack(source, args.out, args.config, processes(args.workers))
    print(f"packed {made.samples:,} images into {_shards(made.shards)} ({format_bytes(made.bytes)}) in {args.out}")
    if left_out := getattr(source, "left_out", ""):
        print(f"not packed: {shown(left_out)}")
    if made.bad:
        print(f"skipped {len(made.bad):,} ({by_kind(made.bad)}); {args.out / BAD} lists them")
    return 0


def index(args: Index) -> int:
    """Index, and say what there is."""
    from nextpatch.data.tar.build import index_shards
    from nextpatch.tasks.curate.shards import shards_of

    check_bounds(args, workers=CORES)
    with phase("looking for the shards"):
        entries = shards_of(args.shards)
    with Meter("index", len(entries), "shards") as meter:
        made = index_shards(entries, workers=processes(args.workers), progress=meter, accept_damage=args.accept_damage)
    print(f"{int(made.samples.sum()):,} images in {_shards(len(made))} ({format_bytes(int(made.bytes.sum()))})")
    for number, what in made.damage.items():
        print(f"damaged: {shown(made.names[number])}: {shown(what)}; {int(made.samples[number]):,} usable images")
    return 0


def verify(args: Verify) -> int:
    """Compare, and name what differs."""
    from nextpatch.data.tar.verify import verify
    from nextpatch.tasks.curate.shards import shards_of

    check_bounds(args, workers=CORES)
    with phase("looking for the shards"):
        entries = shards_of(args.shards)
    with Meter("verify", len(entries), "shards") as meter:
        problems = verify(entries, meter, processes(args.workers))
    for problem in problems:
        keys = (
            f" (images {', '.join(problem.keys[:3])}{', ...' if len(problem.keys) > 3 else ''})" if problem.keys else ""
        )
        print(f"{shown(problem.location)} {shown(problem.what)}{keys}")
    count = len(problems)
    remedy = "get these shards again, or index them as they are: nextpatch data index --accept-damage"
    found = f"{count:,} problem{'s' if count > 1 else ''}; {remedy}"
    print(found if count else "every byte matches the manifest")
    return 1 if problems else 0


def _shards(count: int) -> str:
    return f"{count:,} shard{'' if count == 1 else 's'}"


def processes(workers: int) -> int:
    """How many, where -1 stands for one for each core."""
    from nextpatch.core.machine import usable_cores

    return usable_cores() if workers < 0 else workers
