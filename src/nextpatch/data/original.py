"""A picture as it is stored, upright, with its transparency and all its bits: to change a part and keep the rest."""

from __future__ import annotations

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from nextpatch.data.orientation import TURNS
from nextpatch.data.pillow import is_deep_png, kind_of, opened, orientation
from nextpatch.data.pixels import BadImage

_KEPT = {"L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "I;16": "I;16", "1": "L", "CMYK": "RGB", "YCbCr": "RGB"}


def original(data: bytes) -> Image.Image | None:
    """Grey, RGB, both with alpha, or grey of 16 bits; palettes become RGB, or RGBA where a color stands for nothing.

    None for what Pillow does not read, or only in fewer bits: arrays, floats, 16 bits in color, TIFF of 16 bits.
    """
    try:
        with opened(data) as image:
            turn = TURNS.get(orientation(image))
            image.load()
            if is_deep_png(data) or (kind_of(image) != "uint8" and isinstance(image, TiffImageFile)):
                return None
            found = image.convert(mode) if (mode := _mode(image)) else None
    except BadImage:
        return None
    return found if found is None or turn is None else found.transpose(turn)


def _mode(image: Image.Image) -> str | None:
    if kind_of(image) == "uint16":
        return "I;16" if image.mode in ("I", "I;16") else None
    clear = "transparency" in image.info
    if image.mode in ("P", "PA"):
        return "RGBA" if clear or image.mode == "PA" else "RGB"
    if clear and image.mode in ("L", "RGB"):
        return "LA" if image.mode == "L" else "RGBA"
    return _KEPT.get(image.mode)
