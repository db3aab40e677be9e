"""The tokenizer of our discrete autoencoder: a network's vector for each patch, and the nearest of its codes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpatch.core.errors import ConfigError
from nextpatch.tokenizer.artifact import Artifact
from nextpatch.tokenizer.autoencoder import Autoencoder, AutoencoderSizes
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.tokenizer.exact import codes_of, float32
from nextpatch.tokenizer.nearest import nearest

OPTIONS = ("pixel_width", "width", "depth", "code_dim")  # sizes that an artifact states beside patch and channels


class DVAETokenizer:
    """Row "dVAE" of Table 3a, trained by oneself: `Autoencoder`, and the tensor "vectors", codes x code_dim."""

    local = False
    left_out = ""

    def __init__(self, artifact: Artifact) -> None:
        facts = artifact.facts
        self.kind, self.codes = facts.kind, facts.codes
        self.patch_size, self.in_chans = facts.patch_size, facts.in_chans
        self.mean, self.std = facts.mean, facts.std
        sizes = _sizes(artifact)
        with torch.device("meta"):
            self.networks = Autoencoder(sizes)
        artifact.fill(self.networks)
        self.vectors: Float[Tensor, "codes values"] = artifact.tensor("vectors", facts.codes, sizes.code_dim)
        self.frequencies: Float[Tensor, " codes"] = artifact.frequencies()
        self.digest = artifact.digest
        encoder = self.networks.encoder
        self.params = self.vectors.numel() + sum(values.numel() for values in encoder.parameters())
        self.flops_per_patch = encoder.flops + 2 * self.vectors.numel()

    def encode(self, images: Float[Tensor, "batch channels height width"]) -> Int[Tensor, "batch patches"]:
        """The nearest code of each patch, in raster order; UserError for images of other channels or sides.

        A code depends on the patches around.
        """
        return codes_of(images, self.in_chans, self.patch_size, self._codes)

    def encode_patches(self, patches: Float[Tensor, "*rows values"]) -> Int[Tensor, "*rows"]:
        """TokenizerError: a code depends on the patches around."""
        raise TokenizerError("a code of an autoencoder depends on the patches around; give whole images")

    @torch.no_grad()
    def decode(
        self, codes: Int[Tensor, "batch patches"], grid: tuple[int, int]
    ) -> Float[Tensor, "batch channels height width"]:
        """The images that the decoder draws of them, each patch with regard to the codes around."""
        with float32(codes.device):
            images: Tensor = self.networks.decoder(self.vectors[codes.view(-1, *grid)])
        return images

    def to(self, device: torch.device | str) -> DVAETokenizer:
        """This tokenizer, with its tensors on a device."""
        self.networks = self.networks.to(device)
        self.vectors, self.frequencies = self.vectors.to(device), self.frequencies.to(device)
        return self

    def _codes(self, images: Float[Tensor, "batch channels height width"]) -> Int[Tensor, "batch rows columns"]:
        vectors = self.networks.encoder(images)
        return nearest(vectors.flatten(0, 2), self.vectors).codes.view(vectors.shape[:3])


def _sizes(artifact: Artifact) -> AutoencoderSizes:
    facts = artifact.facts
    options = {name: facts.option(name, int) for name in OPTIONS}
    try:
        return AutoencoderSizes(facts.patch_size, facts.in_chans, **options)
    except ConfigError as error:
        raise TokenizerError(f"its options fit no autoencoder: {error}") from None
