"""What images to make of which weights (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from nextpatch.core.bounds import SEED, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.fields import Flag
from nextpatch.runs.config import Device, Weights
from nextpatch.sampling.config import SamplingConfig

MOST = 10**6  # images
EACH = "each"
_Weights = Annotated[Weights, Flag(positional=True)]
_Count = Annotated[int, Flag("N", short="-n")]
_Labels = Annotated[tuple[str, ...], Flag("CLASS", repeated=True)]
_Settings = Annotated[Path | None, Flag("FILE", name="from")]
_REPEATED = ("weights", "out", "device", "settings")  # what may be given beside a file of settings


@dataclass(frozen=True)
class SampleConfig(SamplingConfig):
    """Images from nothing, of a class or of none, as PNG files into `out`."""

    weights: _Weights = ""
    """Weights that generate the images."""
    out: Annotated[Path, Flag("FOLDER")] = Path("samples")
    """Folder to write the images into, with a contact sheet and the settings that repeat them."""
    count: _Count = 16
    """How many images to make."""
    label: _Labels = ()
    """Class of the images, by name or number; several take turns, and each stands for all of them (default: none)."""
    seed: int = 0
    """Seed of the random numbers."""
    first: int = 0
    """Number of the first image: with 16, images 16, 17 ... follow those of an earlier call."""
    device: Device = "auto"
    """Where to compute."""
    settings: _Settings = None
    """Settings that an earlier call wrote (settings.json), which are repeated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, count=(1, MOST), seed=SEED, first=(0, MOST))
        refuse_both(self, needed=("weights",))


@dataclass(frozen=True)
class CompleteConfig(SamplingConfig):
    """Alternatives for the lower part of an image, whose upper part is kept."""

    weights: _Weights = ""
    """Weights that complete the image."""
    image: Annotated[str, Flag("IMAGE", positional=True)] = ""
    """Image file whose beginning is kept; it is resized and cropped to the size of the model."""
    rows: int = 0
    """Rows of patches that are kept, from the top (default: half of them)."""
    out: Annotated[Path, Flag("FOLDER")] = Path("completions")
    """Folder to write the images into, with a contact sheet and the settings that repeat them."""
    count: _Count = 4
    """How many alternatives to make."""
    label: _Labels = ()
    """Class of the image, by name or number; several take turns, and each stands for all of them (default: none)."""
    seed: int = 0
    """Seed of the random numbers."""
    first: int = 0
    """Number of the first alternative: with 4, alternatives 4, 5 ... follow those of an earlier call."""
    device: Device = "auto"
    """Where to compute."""
    settings: _Settings = None
    """Settings that an earlier call wrote (settings.json), which are repeated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, count=(1, MOST), seed=SEED, first=(0, MOST), rows=(0, 2**16))
        refuse_both(self, needed=("weights", "image"))


@dataclass(frozen=True)
class InpaintConfig(SamplingConfig):
    """Alternatives for the holes of an image, whose other pixels are kept."""

    weights: _Weights = ""
    """Weights that fill the holes."""
    image: Annotated[str, Flag("IMAGE", positional=True)] = ""
    """Image file, of any size; pixels outside of its holes come back as they are."""
    mask: Annotated[str, Flag("IMAGE")] = ""
    """Image file of the same size that is white where the holes are, and black elsewhere."""
    box: Annotated[str, Flag("X,Y,W,H")] = ""
    """A hole as a box, in pixels from the upper left corner; together with a mask both are holes."""
    allow_unseen: bool = False
    """Fill holes that the model's order comes to before it has seen all that is known around them."""
    out: Annotated[Path, Flag("FOLDER")] = Path("inpainted")
    """Folder to write the images into, with a contact sheet and the settings that repeat them."""
    count: _Count = 4
    """How many alternatives to make."""
    label: _Labels = ()
    """Class of the image, by name or number; several take turns, and each stands for all of them (default: none)."""
    seed: int = 0
    """Seed of the random numbers."""
    first: int = 0
    """Number of the first alternative: with 4, alternatives 4, 5 ... follow those of an earlier call."""
    device: Device = "auto"
    """Where to compute."""
    settings: _Settings = None
    """Settings that an earlier call wrote (settings.json), which are repeated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, count=(1, MOST), seed=SEED, first=(0, MOST))
        refuse_both(self, needed=("weights", "image"), beside=("mask",))
        if self.settings is None and not (self.mask or self.box):
            raise ConfigError("no hole given; give --mask with an image that is white in the holes, or --box X,Y,W,H")


@dataclass(frozen=True)
class UpscaleConfig(SamplingConfig):
    """Alternatives for an image that is larger, and agrees with the one that is given."""

    weights: _Weights = ""
    """Weights that learned to enlarge images (--model.upscale)."""
    image: Annotated[str, Flag("IMAGE", positional=True)] = ""
    """Image file to enlarge, as small as the weights' own images made smaller, or larger; it is made in tiles then."""
    factor: int = 0
    """How many times as high and wide: that of the weights, or a power of it, for which they are applied repeatedly
    (default: that of the weights)."""
    out: Annotated[Path, Flag("FOLDER")] = Path("enlarged")
    """Folder to write the images into, with a contact sheet and the settings that repeat them."""
    count: _Count = 4
    """How many alternatives to make."""
    label: _Labels = ()
    """Class of the image, by name or number; several take turns, and each stands for all of them (default: none)."""
    seed: int = 0
    """Seed of the random numbers."""
    first: int = 0
    """Number of the first alternative: with 4, alternatives 4, 5 ... follow those of an earlier call."""
    device: Device = "auto"
    """Where to compute."""
    settings: _Settings = None
    """Settings that an earlier call wrote (settings.json), which are repeated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, count=(1, MOST), seed=SEED, first=(0, MOST), factor=(0, 1024))
        refuse_both(self, needed=("weights", "image"))


AnyConfig = SampleConfig | CompleteConfig | InpaintConfig | UpscaleConfig


def refuse_both(config: AnyConfig, needed: tuple[str, ...], beside: tuple[str, ...] = ()) -> None:
    """ConfigError where settings are to be repeated and stated as well, or where neither says what is `needed`.

    What is `needed`, or `beside` it, may be given with settings: files that are elsewhere by now.
    """
    if config.settings is None:
        if missing := [name for name in needed if not getattr(config, name)]:
            raise ConfigError(f"no {missing[0]} given; name {missing[0]}, or settings to repeat: --from settings.json")
        return
    allowed = (*_REPEATED, *needed, *beside)
    other = [one.name for one in fields(config) if getattr(config, one.name) != one.default and one.name not in allowed]
    if other:
        raise ConfigError(
            f"{other[0].replace('_', '-')} is among the settings that --from repeats; leave it out, or leave out --from"
        )


def settings_of(config: AnyConfig) -> SamplingConfig:
    """The part that is about sampling."""
    return SamplingConfig(**{one.name: getattr(config, one.name) for one in fields(SamplingConfig)})
