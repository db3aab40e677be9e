"""How a collection is packed into shards (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass


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
        if self.samples_per_shard < 1 or self.shard_mib < 1:
            raise ValueError(
                f"a shard of {self.samples_per_shard} samples and {self.shard_mib} MiB holds nothing; give at least 1"
            )
        if self.seed < -1:
            raise ValueError(f"seed {self.seed} must be 0 or more, or -1 for the order of the source")
