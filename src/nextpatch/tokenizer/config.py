"""What can be said of a tokenizer that is fitted, by kind (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

from nextpatch.core.bounds import COUNT, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.tokenizer.names import TOKENIZERS


@dataclass(frozen=True, kw_only=True)
class KMeansOptions:
    """Values of the kind "kmeans"."""

    norm: bool = False
    """kmeans: compare patches after each was normalized by its own mean and deviation, which codes then leave out."""
    passes: int = 20
    """kmeans: at most this many passes over the patches in memory, after one over all images."""
    keep_patches: int = 2**20
    """kmeans: at most this many patches, spread over all images, are kept in memory for these passes, in at most 256
    MiB.
    """


@dataclass(frozen=True, kw_only=True)
class FitOptions(KMeansOptions):
    """What is fitted. Each kind has a class of values of its own, which this one inherits, with a line in OPTIONS."""

    kind: Annotated[str, TOKENIZERS] = "kmeans"
    """Kind of tokenizer: kmeans, the nearest of some patches."""
    codes: int = 512
    """Number of codes."""
    images: int = 32_768
    """At most this many views of images are fitted on; fewer if there are fewer images."""

    def __post_init__(self) -> None:
        TOKENIZERS.check(self.kind)
        check_bounds(self, codes=(2, 2**20), images=(1, COUNT[1]), passes=(0, 10**4), keep_patches=(2, 2**30))
        for kind, options in OPTIONS.items():
            for item in fields(options):
                if kind != self.kind and getattr(self, item.name) != item.default:
                    raise ConfigError(f"{item.name} is a value of {kind} tokenizers, and the kind is {self.kind}")


OPTIONS: dict[str, type] = {"kmeans": KMeansOptions}
