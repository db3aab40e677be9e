"""Pictures as files: each written when it is finished, a contact sheet of them, and the settings that repeat them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from nextpatch.core.output import check_folder, save_picture
from nextpatch.core.progress import Meter, phase
from nextpatch.tasks.generate.config import CompleteConfig, SampleConfig
from nextpatch.tasks.generate.generator import ImageMaker
from nextpatch.tasks.generate.pictures import MOST_ON_SHEET, picture_of, sheet_of
from nextpatch.tasks.generate.request import FILE, request_of
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
    files = [picture_name(number) for number in asked.numbers]
    check_folder(config.out, files=(*files, SHEET, FILE))
    with phase("loading the weights"):
        backbone = load(asked.weights, layers=of_trunk(asked.weights), device=config.device)
        generator = ImageMaker(backbone, asked.settings)
        image = asked.image or None
        request = generator.settled(asked, image)
        found = generator.images(request, image)
    request.write(config.out)
    done: dict[int, Image.Image] = {}
    try:
        with Meter("images", request.count) as meter:
            for some in found:
                for place, pixels in zip(some.places, some.images, strict=True):
                    picture = picture_of(pixels)
                    save_picture(picture, config.out / picture_name(request.first + place))
                    if place < MOST_ON_SHEET:
                        done[place] = picture
                meter.add(len(some.places))
    finally:
        if done:
            save_picture(sheet_of([done[place] for place in sorted(done)]), config.out / SHEET)
    return Generated(config.out, request.count)


def picture_name(number: int) -> str:
    """The file of an image."""
    return f"{number:06}.png"
