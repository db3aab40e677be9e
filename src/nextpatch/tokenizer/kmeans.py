"""The tokenizer whose codes are centers of k-means over patches: a patch gets the code of the nearest center."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.patches import normalize_patches, patchify, unpatchify
from nextpatch.tokenizer.artifact import Artifact
from nextpatch.tokenizer.nearest import nearest


class KMeansTokenizer:
    """Row "k-means" of Table 3a. Tensor "centers": codes x values, of patches as `comparable` makes them."""

    local = True

    def __init__(self, artifact: Artifact) -> None:
        facts = artifact.facts
        self.kind, self.codes = facts.kind, facts.codes
        self.patch_size, self.in_chans = facts.patch_size, facts.in_chans
        self.mean, self.std = facts.mean, facts.std
        self.norm: bool = facts.option("norm", bool)
        self.left_out = "mean and variance" if self.norm else ""
        self.centers: Float[Tensor, "codes values"] = artifact.tensor("centers", facts.codes, facts.patch_dim)
        self.frequencies: Float[Tensor, " codes"] = artifact.frequencies()
        self.digest = artifact.digest
        self.params, self.flops_per_patch = self.centers.numel(), 2.0 * self.centers.numel()

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "batch channels height width"]) -> Int[Tensor, "batch patches"]:
        """The code of each patch, in raster order; UserError for other channels, or sides that do not divide."""
        if images.shape[1] != self.in_chans:
            raise UserError(f"the tokenizer is of images of {self.in_chans} channels, these have {images.shape[1]}")
        return self.encode_patches(patchify(images, self.patch_size))

    @torch.no_grad()
    def encode_patches(self, patches: Float[Tensor, "*rows values"]) -> Int[Tensor, "*rows"]:
        """The nearest center of each patch."""
        rows = comparable(patches.reshape(-1, patches.shape[-1]), self.norm)
        return nearest(rows, self.centers).codes.reshape(patches.shape[:-1])

    def decode(
        self, codes: Int[Tensor, "batch patches"], grid: tuple[int, int]
    ) -> Float[Tensor, "batch channels height width"]:
        """The centers as images. With `norm` they are means of patches of mean 0 and deviation 1."""
        return unpatchify(self.centers[codes], grid, self.patch_size)

    def to(self, device: torch.device | str) -> KMeansTokenizer:
        """This tokenizer, with its tensors on a device."""
        self.centers, self.frequencies = self.centers.to(device), self.frequencies.to(device)
        return self


def comparable(rows: Float[Tensor, "rows values"], norm: bool) -> Float[Tensor, "rows values"]:
    """Patches as centers are compared with them: as they are, or with `norm` each by its own mean and deviation."""
    wide = rows.float()
    return normalize_patches(wide[None])[0] if norm else wide
