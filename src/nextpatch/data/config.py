"""Where images come from and how a training view is made of one (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass

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

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"crop_scale {self.crop_scale} must satisfy 0 < low <= high <= 1")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError(f"crop_ratio {self.crop_ratio} must satisfy 0 < low <= high")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip {self.flip} is a probability, between 0 and 1")
        if len(self.mean) != len(self.std) or any(s <= 0 for s in self.std):
            raise ValueError("mean and std need one value per channel, std above 0")
        if self.window < 1 or self.streams < 0:
            raise ValueError(
                f"window {self.window} needs at least 1 shard, streams {self.streams} at least 1 (0: chosen)"
            )
        if not 0 <= self.max_bad <= 1:
            raise ValueError(f"max_bad {self.max_bad} is a share, between 0 and 1")
        if self.val_images < 1:
            raise ValueError(f"val_images {self.val_images} must be at least 1: the validation loss needs images")

    def statistics(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, std) for images of `channels` channels."""
        if self.mean:
            if len(self.mean) != channels:
                raise ValueError(f"mean has {len(self.mean)} values but the model has {channels} channels")
            return self.mean, self.std
        return (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,) * channels, (0.25,) * channels)
