"""The settings beside pictures: all that makes them again, as a JSON file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nextpatch.config import from_dict, to_dict
from nextpatch.core.bounds import SEED, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.files import write_json
from nextpatch.core.marks import MARK
from nextpatch.core.reading import read_json
from nextpatch.core.text import shown
from nextpatch.sampling.config import SamplingConfig
from nextpatch.tasks.generate.config import (
    MOST,
    AnyConfig,
    CompleteConfig,
    InpaintConfig,
    SampleConfig,
    UpscaleConfig,
    settings_of,
)
from nextpatch.weights.names import from_file

FILE = "settings.json"
_VERBS: dict[type[AnyConfig], str] = {
    SampleConfig: "sample", CompleteConfig: "complete", InpaintConfig: "inpaint", UpscaleConfig: "upscale",
}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What was asked for. `weights_sha256` is of the tensors, `image_sha256` of the pixels that the model sees,
    `mask_sha256` of the holes.

    `settings.batch_size` is the one that was chosen. Image i has the label i modulo their number.
    """

    verb: str
    weights: str
    seed: int
    first: int
    count: int
    labels: tuple[str, ...]
    settings: SamplingConfig
    image: str = ""
    rows: int = 0
    weights_sha256: str = ""
    image_sha256: str = ""
    mask: str = ""
    box: str = ""
    allow_unseen: bool = False
    mask_sha256: str = ""
    factor: int = 0

    def __post_init__(self) -> None:
        check_bounds(self, count=(1, MOST), seed=SEED, first=(0, MOST), rows=(0, 2**16), factor=(0, 1024))

    @property
    def numbers(self) -> range:
        """Those of the images."""
        return range(self.first, self.first + self.count)

    def write(self, folder: Path) -> None:
        """Into the folder of the pictures."""
        write_json(folder / FILE, {MARK: "settings of generated images", **to_dict(self)})


def request_of(config: AnyConfig) -> Request:
    """Of what was typed, or of the file of settings, with weights and images where these are now.

    WeightsError for weights in the file that would run code, or lie behind a URL.
    """
    verb, image, mask = _VERBS[type(config)], getattr(config, "image", ""), getattr(config, "mask", "")
    if config.settings is None:
        return Request(
            verb, config.weights, config.seed, config.first, config.count, config.label, settings_of(config), image,
            getattr(config, "rows", 0), mask=mask, box=getattr(config, "box", ""),
            allow_unseen=getattr(config, "allow_unseen", False), factor=getattr(config, "factor", 0),
        )  # fmt: skip
    found = read_request(config.settings)
    if found.verb != verb:
        raise ConfigError(f"{shown(config.settings)} is of nextpatch {found.verb}; repeat it with that")
    weights = config.weights or from_file(found.weights, config.settings)
    return replace(found, weights=weights, image=image or found.image, mask=mask or found.mask)


def read_request(path: Path) -> Request:
    """ConfigError for what is not a file of settings; a folder of pictures stands for the file in it."""
    file = path / FILE if path.is_dir() else path
    remedy = "give the settings.json beside pictures of nextpatch sample, complete, inpaint or upscale"
    values: dict[str, Any] = read_json(file, "settings of generated images", remedy, ConfigError)
    if MARK not in values:
        raise ConfigError(f"{shown(file)} does not hold settings of generated images; {remedy}")
    values.pop(MARK)
    return from_dict(Request, values, shown(file))
