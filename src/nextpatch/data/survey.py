"""A look at a few images' headers, from which the automatic choices are made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nextpatch.data.decode import BadImage, Header, header
from nextpatch.data.skipped import Bad, none_decodes, skipped
from nextpatch.data.sources.source import Source
from nextpatch.data.sources.sparse import sparse


@dataclass(frozen=True)
class Survey:
    """What the images looked at say about a source."""

    count: int  # of all images
    channels: int  # the most that one of them has
    median_height: int
    median_width: int
    bad: Bad


def survey(source: Source, limit: int = 64) -> Survey:
    """Read the headers of up to `limit` images, evenly spread. Raises DataError when none of them is an image."""
    near = sparse(source)
    headers: list[Header] = []
    bad: Bad = {}
    for index in np.unique(np.linspace(0, len(source) - 1, limit).round().astype(int)).tolist():
        try:
            headers.append(header(near.read(index)))
        except (BadImage, OSError) as error:
            bad[source.key(index)] = skipped(error, source.name)
    if not headers:
        raise none_decodes(source.name, bad)
    channels, heights, widths = zip(*headers, strict=True)
    return Survey(len(source), max(channels), int(np.median(heights)), int(np.median(widths)), bad)
