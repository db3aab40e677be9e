"""How a collection is packed into shards (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass

from nextpatch.core.bounds import SEED, check_bounds


@dataclass(frozen=True)
class Packing:
    """A shard ends with `samples_per_shard` samples, or before it would be larger than `shard_mib`.

    `seed` shuffles all samples once, so that reading shard by shard is already random and every shard holds every
    class; -1 keeps the order of the source. `keep_bad` packs images without looking whether they decode.
    """

    samples_per_shard: int = 10_000
    shard_mib: int = 256
    seed: int = 0
    keep_bad: bool = False

    def __post_init__(self) -> None:
        check_bounds(self, samples_per_shard=(1, 10**9), shard_mib=(1, 2**20), seed=(-1, SEED[1]))
