"""What a tokenizer is: its facts in words, and a picture of its codes and of images by way of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from nextpatch.core.text import shown
from nextpatch.data.loader import eval_batches
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.sparse import sparse
from nextpatch.data.survey import refuse_other_channels
from nextpatch.data.views import to_model_input, to_pixels
from nextpatch.tasks.tokenizer.apply import preprocessing_of, size_of
from nextpatch.tasks.tokenizer.quality import reconstruction
from nextpatch.tokenizer.artifact import TokenizerFacts
from nextpatch.tokenizer.tokenizer import Tokenizer

_MARGIN, _GAP, _LINE, _WIDE = 32, 3, 30, 1000
_GROUND, _INK, _MUTE = (251, 251, 249), (27, 29, 33), (98, 103, 111)
_TITLE, _TEXT = (ImageFont.load_default(size) for size in (26, 17))
_MOST_CODES, _CODE_PX, _IMAGE_PX = 1024, 28, 224
_CONTRAST = 0.2  # of a deviation of 1, where codes leave it out: around middle grey


def facts_in_words(facts: TokenizerFacts, tokenizer: Tokenizer) -> str:
    """One line a fact."""
    lines = {
        "kind": facts.kind + "".join(f", {name}: {value}" for name, value in facts.options.items()),
        "codes": f"{facts.codes:,}, used: {int((tokenizer.frequencies > 0).sum()):,}",
        "patches": f"{facts.patch_size} x {facts.patch_size} px, channels: {facts.in_chans}",
        "left out": tokenizer.left_out or "nothing",
        "mean": " ".join(f"{value:g}" for value in facts.mean),
        "std": " ".join(f"{value:g}" for value in facts.std),
        **{name: _in_words(value) for name, value in facts.fitted.items()},
        "sha256": tokenizer.digest,
    }
    return "\n".join(f"{shown(name) + ':':<18} {shown(value)}" for name, value in lines.items())


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_in_words(one)}" for name, one in value.items())
    if isinstance(value, list):
        return " ".join(map(_in_words, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def picture(tokenizer: Tokenizer, facts: TokenizerFacts, data: str = "", images: int = 8) -> Image.Image:
    """The codes, the most frequent first; and with `data` a few images, each above what its codes say of it.

    DataError for images that cannot be used. What codes leave out is put back from the image.
    """
    codes = _codes(tokenizer)
    pairs = list(_pairs(tokenizer, facts, data, images)) if data else []
    across = max(1, (_WIDE + _GAP) // (codes[0].width + _GAP))
    rows = -(-len(codes) // across)
    top = _MARGIN + 2 * _LINE + 12
    under = top + rows * (codes[0].height + _GAP)
    per_row = max(1, (_WIDE + 8) // (pairs[0][0].width + 8)) if pairs else 1
    lines = -(-len(pairs) // per_row)
    height = under + (12 + _LINE + lines * (2 * pairs[0][0].height + 20) if pairs else 0) + _MARGIN
    sheet = Image.new("RGB", (2 * _MARGIN + _WIDE, height), _GROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), f"{facts.codes:,} codes ({facts.kind})", _INK, _TITLE)
    left = f"; without the {tokenizer.left_out} of a patch" if tokenizer.left_out else ""
    draw.text((_MARGIN, _MARGIN + _LINE + 6), f"The most frequent codes first{left}", _MUTE, _TEXT)
    for number, code in enumerate(codes):
        row, column = divmod(number, across)
        sheet.paste(code, (_MARGIN + column * (code.width + _GAP), top + row * (code.height + _GAP)))
    if pairs:
        draw.text((_MARGIN, under + 12), "Images, and below each what its codes say of it", _MUTE, _TEXT)
    for number, (image, again) in enumerate(pairs):
        row, column = divmod(number, per_row)
        x, y = _MARGIN + column * (image.width + 8), under + 12 + _LINE + row * (2 * image.height + 20)
        sheet.paste(image, (x, y))
        sheet.paste(again, (x, y + image.height + 4))
    return sheet


@torch.no_grad()
def _codes(tokenizer: Tokenizer) -> list[Image.Image]:
    order = tokenizer.frequencies.argsort(descending=True, stable=True)[:_MOST_CODES]
    decoded = tokenizer.decode(order[:, None], (1, 1))
    pixels = decoded * _CONTRAST + 0.5 if tokenizer.left_out else to_pixels(decoded, tokenizer.mean, tokenizer.std)
    return [_drawn(one, _CODE_PX) for one in pixels]


def _pairs(
    tokenizer: Tokenizer, facts: TokenizerFacts, data: str, images: int
) -> Iterator[tuple[Image.Image, Image.Image]]:
    source, reading = open_source(data), preprocessing_of(facts)
    refuse_other_channels(source, facts.in_chans, reading)
    chosen = np.unique(np.linspace(0, len(source) - 1, images).round().astype(int))
    for batch in eval_batches(sparse(source), chosen, size_of(facts), facts.in_chans, 8, preprocessing=reading):
        seen = to_model_input(batch.images, facts.mean, facts.std)
        made = reconstruction(tokenizer, seen)
        both = [to_pixels(one, facts.mean, facts.std) for one in (seen, made)]
        yield from ((_drawn(one, _IMAGE_PX), _drawn(other, _IMAGE_PX)) for one, other in zip(*both, strict=True))


def _drawn(pixels: Float[Tensor, "channels height width"], side: int) -> Image.Image:
    """In whole enlargements, at least `side` high where it is smaller; of many channels the first three."""
    shown_channels = pixels[:3] if len(pixels) >= 3 else pixels[:1].expand(3, -1, -1)
    array = (shown_channels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    image = Image.fromarray(array)
    times = max(1, side // max(image.size))
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
