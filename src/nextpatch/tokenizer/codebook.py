"""The tokenizer of the public codebook that DALL-E and FLAVA use: 8,192 codes, learned on other images."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from nextpatch.core.errors import ConfigError
from nextpatch.data.views import to_pixels
from nextpatch.patches import unpatchify
from nextpatch.tokenizer.artifact import Artifact
from nextpatch.tokenizer.dalle import CELL, EPS, CodebookSizes, empty_encoder
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.tokenizer.exact import codes_of


class CodebookTokenizer:
    """Row "dVAE" of Table 3a with the public weights: those of `DalleEncoder`, under their own names.

    The release has no decoder. So the artifact has the tensor "patches", codes x values: the mean of the patches that
    have a code in the collection that it was measured on, and that of all patches for a code that none has.
    """

    local = False
    left_out = ""

    def __init__(self, artifact: Artifact) -> None:
        facts = artifact.facts
        self.kind, self.codes = facts.kind, facts.codes
        self.patch_size, self.in_chans = facts.patch_size, facts.in_chans
        self.mean, self.std = facts.mean, facts.std
        self.encoder = empty_encoder(_sizes(artifact))
        artifact.fill(self.encoder)
        self.patches: Float[Tensor, "codes values"] = artifact.tensor("patches", facts.codes, facts.patch_dim)
        self.frequencies: Float[Tensor, " codes"] = artifact.frequencies()
        self.digest = artifact.digest
        self.params = sum(values.numel() for values in self.encoder.parameters())
        self.flops_per_patch = self.encoder.flops

    def encode(self, images: Float[Tensor, "batch channels height width"]) -> Int[Tensor, "batch patches"]:
        """The likeliest code of each patch, in raster order; UserError for images of other channels or sides.

        The image is resized so that a patch becomes a cell of 8 x 8 pixels. A code depends on the patches around.
        """
        return codes_of(images, self.in_chans, self.patch_size, self._codes)

    def encode_patches(self, patches: Float[Tensor, "*rows values"]) -> Int[Tensor, "*rows"]:
        """TokenizerError: a code depends on the patches around."""
        raise TokenizerError("a code of the public codebook depends on the patches around; give whole images")

    def decode(
        self, codes: Int[Tensor, "batch patches"], grid: tuple[int, int]
    ) -> Float[Tensor, "batch channels height width"]:
        """The mean patch of each code."""
        return unpatchify(self.patches[codes], grid, self.patch_size)

    def to(self, device: torch.device | str) -> CodebookTokenizer:
        """This tokenizer, with its tensors on a device."""
        self.encoder = self.encoder.to(device)
        self.patches, self.frequencies = self.patches.to(device), self.frequencies.to(device)
        return self

    def _codes(self, images: Float[Tensor, "batch channels height width"]) -> Int[Tensor, "batch rows columns"]:
        pixels = as_cells(to_pixels(images, self.mean, self.std), self.patch_size)
        pixels = pixels.expand(-1, self.encoder.sizes.channels, -1, -1)  # grey is all three colors
        logits: Tensor = self.encoder((1 - 2 * EPS) * pixels + EPS)
        return logits.argmax(dim=1)


def as_cells(
    pixels: Float[Tensor, "batch channels height width"], patch_size: int
) -> Float[Tensor, "batch channels cell_height cell_width"]:
    """Pixels in [0, 1], resized (bicubic, with antialiasing) so that each patch is a cell."""
    if patch_size != CELL:
        height, width = pixels.shape[2] // patch_size * CELL, pixels.shape[3] // patch_size * CELL
        pixels = interpolate(pixels, size=(height, width), mode="bicubic", antialias=True)
    return pixels.clamp(0, 1)


def _sizes(artifact: Artifact) -> CodebookSizes:
    """Those that the artifact states; TokenizerError where none can have them, or not with its channels."""
    facts = artifact.facts
    try:
        channels, hidden, blocks = (facts.option(name, int) for name in ("channels", "hidden", "blocks"))
        sizes = CodebookSizes(channels, hidden, blocks, facts.codes)
    except ConfigError as error:
        raise TokenizerError(f"its options fit no codebook: {error}") from None
    if facts.in_chans not in (1, sizes.channels):
        raise TokenizerError(f"it takes images of {sizes.channels} channels or grey ones, not of {facts.in_chans}")
    return sizes
