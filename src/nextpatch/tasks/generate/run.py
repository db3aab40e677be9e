"""Pictures as files: each written when it is finished, a contact sheet of them, and the settings that repeat them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from nextpatch.core.output import check_folder, save_picture
from nextpatch.core.progress import Meter, phase
from nextpatch.tasks.generate.config import CompleteConfig, InpaintConfig, SampleConfig, UpscaleConfig
from nextpatch.tasks.generate.enlargement import ImageEnlarger
from nextpatch.tasks.generate.generator import ImageMaker
from nextpatch.tasks.generate.inpaint import HoleFiller
from nextpatch.tasks.generate.photo import small_of
from nextpatch.tasks.generate.pictures import MOST_ON_SHEET, picture_of, sheet_of
from nextpatch.tasks.generate.request import FILE, Request, request_of
from nextpatch.weights.load import load, of_trunk

SHEET = "sheet.png"


@dataclass(frozen=True)
class Generated:
    """What came out: where, and how many pictures."""

    out: Path
    images: int


def generate(config: SampleConfig | CompleteConfig) -> Generated:
    """Write the pictures of a request into `config.out`.

    What is finished stays when the work is stopped: the settings are written first, then each picture, and the sheet of
    all there are at the end, however that comes. What cannot be used is a WeightsError, SamplingError, DataError,
    ConfigError or UserError before anything is written.
    """
    asked = request_of(config)
    _check_out(asked, config.out)
    with phase("loading the weights"):
        backbone = load(asked.weights, layers=of_trunk(asked.weights), device=config.device)
        generator = ImageMaker(backbone, asked.settings)
        image = asked.image or None
        request = generator.settled(asked, image)
        found = generator.images(request, image)
    return _written(
        ((place, picture_of(one)) for some in found for place, one in zip(some.places, some.images, strict=True)),
        request, config.out,
    )  # fmt: skip


def inpaint(config: InpaintConfig) -> Generated:
    """As `generate`, of an image with holes; the sheet shows the image with its holes first."""
    asked = request_of(config)
    _check_out(asked, config.out)
    with phase("loading the weights"):
        backbone = load(asked.weights, layers=of_trunk(asked.weights), device=config.device)
        filler = HoleFiller(backbone, asked, asked.image, asked.mask or None)
    return _written(filler.pictures(), filler.request, config.out, [filler.photo.shown(filler.hole)])


def upscale(config: UpscaleConfig) -> Generated:
    """As `generate`, of an image that is enlarged; the sheet shows its pixels as squares and its bicubic enlargement
    first.
    """
    asked = request_of(config)
    _check_out(asked, config.out)
    with phase("loading the weights"):
        backbone = load(asked.weights, layers=of_trunk(asked.weights), device=config.device)
        enlarger = ImageEnlarger(backbone, asked, asked.image)
    meter = Meter("tiles", enlarger.parts)
    return _written(enlarger.pictures(meter), enlarger.request, config.out, enlarger.beside(), meter)


def _check_out(asked: Request, out: Path) -> None:
    check_folder(out, files=(*map(picture_name, asked.numbers), SHEET, FILE))


def _written(
    found: Iterator[tuple[int, Image.Image]], request: Request, out: Path, before: Sequence[Image.Image] = (),
    parts: Meter | None = None,
) -> Generated:  # fmt: skip
    """Pictures by their places, as they are finished; those of the sheet stand behind those `before`. `parts` counts
    what they are made of, instead of them.
    """
    request.write(out)
    done: dict[int, Image.Image] = {}
    try:
        with parts or Meter("images", request.count) as meter:
            for place, picture in found:
                save_picture(picture, out / picture_name(request.first + place))
                if place < MOST_ON_SHEET:
                    done[place] = small_of(picture) if before else picture
                meter.add(0 if parts else 1)
    finally:
        if done:
            save_picture(sheet_of([*before, *(done[place] for place in sorted(done))]), out / SHEET)
    return Generated(out, request.count)


def picture_name(number: int) -> str:
    """The file of an image."""
    return f"{number:06}.png"
