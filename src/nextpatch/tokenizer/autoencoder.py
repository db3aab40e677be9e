"""The networks of our discrete autoencoder: images to a vector for each patch, and back; small, for CPUs."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from nextpatch.core.bounds import check_bounds
from nextpatch.patches import unpatchify


@dataclass(frozen=True)
class AutoencoderSizes:
    """Widths and depths. ConfigError for sizes that none can have."""

    patch_size: int
    in_chans: int
    pixel_width: int = 32
    """Channels of the first convolution, which sees every pixel."""
    width: int = 128
    """Channels of all that is computed once a patch."""
    depth: int = 2
    """Residual blocks in the encoder, and as many in the decoder; with each a patch sees one patch further."""
    code_dim: int = 32
    """Values of a code."""

    def __post_init__(self) -> None:
        check_bounds(
            self, patch_size=(1, 4096), in_chans=(1, 4096), pixel_width=(1, 4096), width=(1, 4096), depth=(0, 64),
            code_dim=(1, 4096),
        )  # fmt: skip


class _Block(nn.Module):
    """The input plus a 3 x 3 and a 1 x 1 convolution of it, each behind a ReLU; at the start it adds nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_2 = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.conv_2.weight)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.conv_2(relu(self.conv_1(relu(x))))
        return x + added


class Encoder(nn.Module):
    """Images to vectors. That of a patch depends on `depth` patches to each side of it, and one pixel beyond."""

    def __init__(self, sizes: AutoencoderSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.pixels = nn.Conv2d(sizes.in_chans, sizes.pixel_width, 3, padding=1)
        self.patches = nn.Conv2d(sizes.pixel_width, sizes.width, sizes.patch_size, stride=sizes.patch_size)
        self.blocks = nn.Sequential(*(_Block(sizes.width) for _ in range(sizes.depth)))
        self.out = nn.Conv2d(sizes.width, sizes.code_dim, 1)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch rows columns values"]:
        """The vectors of normalized images, whose sides are multiples of the patch size."""
        found: Tensor = self.out(self.blocks(self.patches(relu(self.pixels(images)))))
        return found.permute(0, 2, 3, 1)

    @property
    def flops(self) -> float:
        """Operations of one patch: a multiply-add is two, and only products count, as in model/cost.py."""
        weights = {name: values.numel() for name, values in self.named_parameters() if values.ndim > 1}
        each_pixel = weights.pop("pixels.weight")
        return float(2 * (sum(weights.values()) + self.sizes.patch_size**2 * each_pixel))


class Decoder(nn.Module):
    """Vectors to images: each patch is drawn with regard to `depth` patches to each side of it."""

    def __init__(self, sizes: AutoencoderSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.into = nn.Conv2d(sizes.code_dim, sizes.width, 1)
        self.blocks = nn.Sequential(*(_Block(sizes.width) for _ in range(sizes.depth)))
        self.patches = nn.Conv2d(sizes.width, sizes.patch_size**2 * sizes.in_chans, 1)

    def forward(
        self, vectors: Float[Tensor, "batch rows columns values"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Normalized images."""
        found: Tensor = self.patches(relu(self.blocks(self.into(vectors.permute(0, 3, 1, 2)))))
        grid = (vectors.shape[1], vectors.shape[2])
        return unpatchify(found.flatten(2).transpose(1, 2), grid, self.sizes.patch_size)


class Autoencoder(nn.Module):
    """Both."""

    def __init__(self, sizes: AutoencoderSizes) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(sizes), Decoder(sizes)
