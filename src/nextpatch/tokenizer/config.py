"""What can be said of a tokenizer that is fitted, by kind (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

from nextpatch.core.bounds import COUNT, RATE, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.fields import Flag
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
class DVAEOptions:
    """Values of the kind "dvae"."""

    steps: int = 2000
    """dvae: updates of the networks, each by about 2,048 patches, however many passes over the images these are."""
    lr: float = 2e-3
    """dvae: peak learning rate."""
    width: int = 128
    """dvae: channels of the networks."""
    depth: int = 2
    """dvae: residual blocks in the encoder and in the decoder; with each a code depends on one patch further around."""


@dataclass(frozen=True, kw_only=True)
class CodebookOptions:
    """Values of the kind "codebook"."""

    weights: Annotated[str, Flag("FILE|OWNER/NAME")] = "facebook/flava-image-codebook"
    """codebook: the public encoder, a file, the folder of a snapshot or a model of the Hub. It settles `codes`."""
    coded_images: int = 4096
    """codebook: at most this many images are given codes, to measure how frequent these are and how they look."""


@dataclass(frozen=True, kw_only=True)
class FitOptions(KMeansOptions, DVAEOptions, CodebookOptions):
    """What is fitted. Each kind has a class of values of its own, which this one inherits, with a line in OPTIONS."""

    kind: Annotated[str, TOKENIZERS] = "kmeans"
    """Kind of tokenizer: kmeans, the nearest of some patches; dvae, an autoencoder with codes; codebook, a public one.

    The last is the encoder of DALL-E as released for FLAVA, with 8,192 codes.
    """
    codes: int = 512
    """Number of codes."""
    images: int = 32_768
    """At most this many views of images are fitted on, fewer if there are fewer images; of dvae as steps say."""

    def __post_init__(self) -> None:
        TOKENIZERS.check(self.kind)
        check_bounds(
            self, codes=(2, 2**20), images=(1, COUNT[1]), passes=(0, 10**4), keep_patches=(2, 2**30),
            steps=(2, COUNT[1]), lr=RATE, width=(1, 4096), depth=(0, 64), coded_images=(1, COUNT[1]),
        )  # fmt: skip
        for kind, options in OPTIONS.items():
            for item in fields(options):
                if kind != self.kind and getattr(self, item.name) != item.default:
                    raise ConfigError(f"{item.name} is a value of {kind} tokenizers, and the kind is {self.kind}")


OPTIONS: dict[str, type] = {"kmeans": KMeansOptions, "dvae": DVAEOptions, "codebook": CodebookOptions}
