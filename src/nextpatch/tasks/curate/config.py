"""How a collection is packed into shards (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass

from nextpatch.core.bounds import SEED, check_bounds


@dataclass(frozen=True)
class Packing:
    """When a shard ends, and in which order the samples go into shards."""

    samples_per_shard: int = 10_000
    """Largest number of images in a shard."""
    shard_mib: int = 256
    """Largest size of a shard, in MiB."""
    seed: int = 0
    """Seed of the order of the images; -1 keeps the order in which they are read.

    All samples are shuffled once, so that reading shard by shard is already random and every shard holds every class.
    """
    keep_bad: bool = False
    """Pack images without checking that they can be decoded."""

    def __post_init__(self) -> None:
        check_bounds(self, samples_per_shard=(1, 10**9), shard_mib=(1, 2**20), seed=(-1, SEED[1]))
