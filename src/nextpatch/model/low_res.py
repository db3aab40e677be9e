"""A low-resolution image as context: what each prediction is told of it, for models that enlarge images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn.functional import pad

from nextpatch.data.downsampling import downsampled, enlarged
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import Init

MARGIN = 2  # pixels of the low-resolution image on each side of a patch
_HIGHEST = 255


class MapFromZero(nn.Linear):
    """A linear map without a bias that starts as nothing."""

    def init_own(self, init: Init) -> None:
        """All zero."""
        self.weight.zero_()


class LowRes(nn.Module):
    """The neighborhood of the patch that comes next, in the low-resolution image, by a linear map each for the token
    that it follows and for the feature that the head gets.

    The low-resolution image is the mean of blocks of `model.upscale` x `model.upscale` pixels, rounded to 8 bits, as a
    small file would hold it. A neighborhood is cut from its bicubic enlargement: the patch and `MARGIN` low-resolution
    pixels on each side, with edges repeated. Source: LAR-SR, and the local context of super-resolution in general.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.factor, self._patch_size = cfg.upscale, cfg.patch_size
        self.to_token = MapFromZero(_values(cfg), cfg.shape.embed_dim, bias=False)
        self.to_feature = MapFromZero(_values(cfg), cfg.shape.embed_dim, bias=False)
        for name in ("mean", "deviation"):
            self.register_buffer(name, torch.zeros(cfg.in_chans))

    def init_own(self, init: Init) -> None:
        """As pixels from 0 to 1, until `measure`."""
        self.mean.zero_()
        self.deviation.fill_(1.0)

    @torch.no_grad()
    def measure(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """The data's, by which pixels of 8 bits are found again; saved with the weights."""
        self.mean.copy_(torch.tensor(mean))
        self.deviation.copy_(torch.tensor(std))

    @torch.no_grad()
    def of(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch patches values"]:
        """The neighborhoods of all patches in the low-resolution versions of these images, in raster order."""
        return self._around(downsampled(self.levels(images), self.factor)).to(images.dtype)

    @torch.no_grad()
    def of_pixels(
        self, low: UInt8[Tensor, "batch channels low_height low_width"], dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "batch patches values"]:
        """The same of low-resolution images, on the device of the weights."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return self._around(low.to(self.mean.device, wide)).to(dtype)

    def levels(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels ..."]:
        """Normalized images in levels of 8 bits, from 0 to 255; never in half precision."""
        wide = images if images.dtype == torch.float64 else images.float()
        scaled = (wide * _spread(self.deviation, wide) + _spread(self.mean, wide)) * _HIGHEST
        return scaled.round().clamp(0, _HIGHEST)

    def normalized(self, levels: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels ..."]:
        """The inverse."""
        return (levels / _HIGHEST - _spread(self.mean, levels)) / _spread(self.deviation, levels)

    def _around(self, levels: Float[Tensor, "batch channels low_height low_width"]) -> Tensor:
        size, margin = self._patch_size, MARGIN * self.factor
        large = pad(enlarged(self.normalized(levels), self.factor), [margin] * 4, mode="replicate")
        windows = large.unfold(2, size + 2 * margin, size).unfold(3, size + 2 * margin, size)
        return windows.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)

    @staticmethod
    def params(cfg: ModelConfig) -> int:
        """Both maps, of a model that enlarges."""
        return 2 * _values(cfg) * cfg.shape.embed_dim if cfg.upscale else 0

    @staticmethod
    def flops(cfg: ModelConfig, count: float) -> float:
        """Operations of one of the maps for so many patches, or rows."""
        return 2 * count * _values(cfg) * cfg.shape.embed_dim if cfg.upscale else 0

    @staticmethod
    def kept_bytes(cfg: ModelConfig, count: float, width: int) -> float:
        """What autograd keeps of one of the maps: the neighborhoods."""
        return count * width * _values(cfg) if cfg.upscale else 0


def at_places(
    of_patches: Float[Tensor, "batch patches values"], place: Int[Tensor, "*#batch length"]
) -> Float[Tensor, "batch length values"]:
    """What belongs to the patches at raster places, of each image or of all."""
    if place.ndim == 1:
        return of_patches[:, place]
    return of_patches.gather(1, place.expand(len(of_patches), -1)[..., None].expand(-1, -1, of_patches.shape[2]))


def _values(cfg: ModelConfig) -> int:
    """Of a neighborhood."""
    return (cfg.patch_size + 2 * MARGIN * cfg.upscale) ** 2 * cfg.in_chans


def _spread(by_channel: Tensor, like: Tensor) -> Tensor:
    return by_channel.to(like.dtype)[:, None, None]
