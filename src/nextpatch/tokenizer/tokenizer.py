"""The interface of a tokenizer: images to codes, one for each patch, and back; and how one is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpatch.core.text import shown
from nextpatch.tokenizer.artifact import Artifact, read_artifact
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.tokenizer.names import TOKENIZERS

FILE = "tokenizer.safetensors"  # in the folder of a run


@runtime_checkable
class Tokenizer(Protocol):
    """What a kind of TOKENIZERS is: a class that is made from an artifact, and raises TokenizerError for a wrong one.

    Images are normalized by `mean` and `std`; patches are in raster order, as `patchify` cuts them.
    """

    kind: str
    codes: int
    patch_size: int
    in_chans: int
    mean: tuple[float, ...]  # of each channel, for pixels in [0, 1]
    std: tuple[float, ...]
    local: bool  # the code of a patch depends on that patch alone
    left_out: str  # what codes do not contain: "mean and variance" of each patch, or ""
    frequencies: Float[Tensor, " codes"]  # share of each code on the collection that it was fitted on
    digest: str  # SHA-256 of tensors and facts
    params: int  # learned values that `encode` uses
    flops_per_patch: float  # operations of `encode`, counted as in model/cost.py; an image costs that times its patches

    def __init__(self, artifact: Artifact) -> None: ...

    def encode(self, images: Float[Tensor, "batch channels height width"]) -> Int[Tensor, "batch patches"]:
        """A code for each patch; the sides are any multiples of `patch_size`. UserError for other images."""
        ...

    def encode_patches(self, patches: Float[Tensor, "*rows values"]) -> Int[Tensor, "*rows"]:
        """The codes of patches by themselves; TokenizerError where the kind is not `local`."""
        ...

    def decode(
        self, codes: Int[Tensor, "batch patches"], grid: tuple[int, int]
    ) -> Float[Tensor, "batch channels height width"]:
        """Images of codes, normalized as those that go in; without what is `left_out`, around 0 in each patch.

        `grid` is (patches per column, patches per row).
        """
        ...

    def to(self, device: torch.device | str) -> Tokenizer:
        """This tokenizer, with its tensors on a device."""
        ...


def tokenizer_of(artifact: Artifact) -> Tokenizer:
    """The tokenizer that an artifact holds; TokenizerError where its tensors are not those of its kind."""
    found: Tokenizer = TOKENIZERS[artifact.facts.kind](artifact)
    return found


def open_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a file, or in the folder of a run, on the CPU.

    Raises TokenizerError for a file that is absent, damaged or of another kind.
    """
    file = file_of(path)
    artifact = read_artifact(file)
    try:
        return tokenizer_of(artifact)
    except TokenizerError as error:
        raise TokenizerError(f"{shown(file)} cannot be used as a tokenizer ({error}); fit it again") from None


def file_of(path: Path) -> Path:
    """The file of a tokenizer that a path names: itself, or the one in the folder of a run."""
    return path / FILE if path.is_dir() else path
