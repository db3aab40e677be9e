"""Where images come from and how a training view is made of one (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from nextpatch.core.bounds import COUNT, SHARE, WORKERS, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.fields import Flag
from nextpatch.data.preprocessing import Layout, Pages, Preprocessing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
Images = Annotated[str, Flag("DATA", "a folder, tar shards, Parquet, hub:OWNER/NAME, torchvision:NAME or a URL")]
LabeledImages = Annotated[str, Flag("PATH", "one folder per class, or Parquet")]


@dataclass(frozen=True)
class DataConfig:
    """Sources and views. The defaults are the paper's (Table 10)."""

    train: tuple[Images, ...] = ()
    """Images to learn from, one or more collections, with =WEIGHT behind each to mix them in these proportions."""
    val: Images = ""
    """Images to measure the validation loss on (default: part of the training images, which is held out)."""
    labels: bool = False
    """Tell the model the classes of the images, of the objective generate, so that it can be sampled by class.

    Classes are those that a probe would have: folders, a column, names beside the images in shards. Images without one
    count as images of which it is not told.
    """
    classes: tuple[str, ...] = ()
    """Names of the classes, by number, of a run with labels (chosen from the data)."""
    val_images: int = 1024
    """Number of images that the validation loss is measured on (chosen from the data)."""
    crop_scale: tuple[float, float] = (0.4, 1.0)
    """Smallest and largest share of an image's area that a training crop covers."""
    crop_ratio: tuple[float, float] = (0.75, 4 / 3)
    """Smallest and largest width-to-height ratio of a training crop."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    mean: tuple[float, ...] = ()
    """Mean of each channel, for pixels in [0, 1] (default: ImageNet's for three channels, else 0.5)."""
    std: tuple[float, ...] = ()
    """Standard deviation of each channel, for pixels in [0, 1] (default: ImageNet's for three channels, else 0.25)."""
    workers: int = -1
    """Processes that decode images; 0: the main process decodes them (chosen from the machine).

    The default -1 stands for this choice.
    """
    streams: int = 0
    """Number of shard streams read in parallel, if shards are read from start to end (chosen from the data).

    See `Order`; data that can be read in any order is shuffled completely.
    """
    window: int = 4
    """Shards whose samples are shuffled together in each stream, if shards are read from start to end."""
    max_bad: float = 0.01
    """Share of the samples that may be unusable and are skipped; above it the run stops."""
    stall_s: int = 900
    """Seconds without a batch after which a worker process is replaced."""
    pixel_range: tuple[float, ...] = ()
    """Pixel values that become black and white, for images of more than 8 bits (default: the range of their type)."""
    range_from: Literal["type", "survey", "percentile"] = "type"
    """How pixel_range is chosen when a run begins; survey and percentile look at the images first.

    "type": the whole range of the type; "survey": the least and the greatest value found; "percentile": without the
    lowest and the highest thousandth of the values.
    """
    layout: Layout = "auto"
    """Order of the axes of arrays; auto: height x width x channels, and arrays that do not look like it are refused."""
    pages: Pages = "first"
    """Which pages of a TIFF with several pages of one size: the first, or all of them as bands of one image."""
    keep_exact: bool = True
    """In evaluation, use an image of exactly the model's size as it is; if False, resize and crop it like any other.

    The released models were evaluated with False.
    """

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
