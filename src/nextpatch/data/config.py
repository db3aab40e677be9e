"""Where images come from and how a training view is made of one (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nextpatch.core.bounds import COUNT, SHARE, WORKERS, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.data.preprocessing import Layout, Pages, Preprocessing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DataConfig:
    """Sources and views. The defaults are the paper's (Table 10).

    `train`: what to learn from: a folder, tar shards, Parquet, a Hub or torchvision data set, near or remote; several
    as one, or with `=WEIGHT` behind each as a mixture. `val`: one such, or empty to hold out `val_images` of `train`.
    `mean` and `std` are per channel, of pixels in [0, 1]; empty means ImageNet's for three channels and 0.5 / 0.25 for
    any other number. `workers`: processes that decode; -1: chosen by the machine. `streams` and `window` say how shards
    are mixed that are best read as a whole (see `Order`); data that can be read in any order is shuffled wholly.
    `max_bad`: the share of samples that may be skipped before the run stops. `stall_s`: seconds after which a worker
    that yields nothing is replaced.

    `pixel_range`, `layout`, `pages` and `keep_exact` say how files are read (see `Preprocessing`); `range_from` chooses
    the range from a look at the images when a run begins: "survey" takes the least and the greatest value seen,
    "percentile" leaves out a thousandth of the values at either end, "type" keeps the whole range of the type.
    """

    train: tuple[str, ...] = ()
    val: str = ""
    val_images: int = 1024
    crop_scale: tuple[float, float] = (0.4, 1.0)
    crop_ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: float = 0.5
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    workers: int = -1
    streams: int = 0
    window: int = 4
    max_bad: float = 0.01
    stall_s: int = 900
    pixel_range: tuple[float, ...] = ()
    range_from: Literal["type", "survey", "percentile"] = "type"
    layout: Layout = "auto"
    pages: Pages = "first"
    keep_exact: bool = True

    def __post_init__(self) -> None:
        check_bounds(
            self, crop_scale=(1e-6, 1.0), crop_ratio=(1e-3, 1e3), flip=SHARE, max_bad=SHARE, mean=(-1e6, 1e6),
            std=(1e-12, 1e6), val_images=(1, COUNT[1]), workers=(-1, WORKERS[1]), streams=(0, 2**20),
            window=(1, 2**20), stall_s=(1, 10**7),
        )  # fmt: skip
        low, high = self.crop_scale
        if not low <= high:
            raise ConfigError(f"crop_scale {self.crop_scale} must satisfy 0 < low <= high <= 1")
        if not self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ConfigError(f"crop_ratio {self.crop_ratio} must satisfy 0 < low <= high")
        if len(self.mean) != len(self.std):
            raise ConfigError("mean and std need one value per channel, std above 0")
        _ = self.preprocessing  # which checks its own values

    @property
    def preprocessing(self) -> Preprocessing:
        """How files are read, and what an evaluation sees of them."""
        return Preprocessing(self.pixel_range, self.layout, self.pages, self.keep_exact)

    def statistics(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, std) for images of `channels` channels."""
        if self.mean:
            if len(self.mean) != channels:
                raise ConfigError(f"mean has {len(self.mean)} values but the model has {channels} channels")
            return self.mean, self.std
        return (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,) * channels, (0.25,) * channels)
