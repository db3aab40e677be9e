"""A look at a few images' headers, from which the automatic choices are made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nextpatch.data.decode import WRONG_CHANNELS, BadImage, ImageHeader, decode, deep_values, header
from nextpatch.data.levels import Levels, levels_of
from nextpatch.data.preprocessing import AS_OURS, Preprocessing
from nextpatch.data.skipped import Bad, Skipped, none_decodes, skipped
from nextpatch.data.sources.source import Samples, Source
from nextpatch.data.sources.sparse import sparse

_FEW = 8  # images by which a pass is refused for their channels


@dataclass(frozen=True)
class Survey:
    """What the images looked at say about a source."""

    count: int  # of all images
    channels: int  # the most that one of them has
    median_height: int
    median_width: int
    bad: Bad
    levels: Levels | None = None  # of those of more than 8 bits
    several: int = 0  # images looked at whose file holds more than one picture
    kinds: tuple[int, ...] = ()  # all numbers of channels that were seen


def survey(source: Source, limit: int = 64, preprocessing: Preprocessing = AS_OURS) -> Survey:
    """Read the headers of up to `limit` images, evenly spread, and the values of those of more than 8 bits.

    Raises DataError when none of them is an image.
    """
    near = sparse(source)
    headers: list[ImageHeader] = []
    bad: Bad = {}
    levels: Levels | None = None
    for index in np.unique(np.linspace(0, len(source) - 1, limit).round().astype(int)).tolist():
        try:
            data = near.read(index)
            found = header(data, preprocessing)
            if found.kind != "uint8" and (own := levels_of(deep_values(data, preprocessing))):
                levels = levels.and_also(own) if levels else own
            headers.append(found)
        except (BadImage, OSError) as error:
            bad[source.key(index)] = skipped(error, source.name)
    if not headers:
        raise none_decodes(source.name, bad)
    channels, heights, widths, _, pictures = zip(*headers, strict=True)
    several = sum(count > 1 for count in pictures)
    return Survey(
        len(source),
        max(channels),
        int(np.median(heights)),
        int(np.median(widths)),
        bad,
        levels,
        several,
        tuple(sorted(set(channels))),
    )


def refuse_other_channels(source: Samples, channels: int, preprocessing: Preprocessing = AS_OURS) -> None:
    """DataError, once, where a few images spread over all have none of them the channels that a model takes."""
    near = sparse(source) if isinstance(source, Source) else source
    seen: dict[str, Skipped] = {}
    for index in np.unique(np.linspace(0, len(source) - 1, _FEW).round().astype(int)).tolist():
        try:
            decode(near.read(index), channels, preprocessing)
        except (BadImage, OSError) as error:
            seen[source.key(index)] = skipped(error, source.name)
        else:
            return
        if seen[source.key(index)].kind != WRONG_CHANNELS:
            return
    if seen:
        raise none_decodes(source.name, seen)


def several(count: int) -> str:
    """What is said of so many images whose files hold more than one picture."""
    return (
        f"{count:,} hold several pictures, of which the first is used; data.pages bands takes the pages of a TIFF that "
        "have one size as bands"
    )
