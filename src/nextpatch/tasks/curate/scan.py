"""What one image says of itself, found by any number of workers: format, size, digest, and whether it is good."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from nextpatch.data.decode import WRONG_CHANNELS, BadImage, ImageHeader, can_become, decode, deep_values, header
from nextpatch.data.formats import ending_of
from nextpatch.data.levels import Levels, levels_of
from nextpatch.data.preprocessing import AS_OURS, Preprocessing
from nextpatch.data.skipped import Skipped, skipped
from nextpatch.data.sources.source import Samples

CHUNK = 8  # images that a worker hands over at a time
DIGEST_BYTES = 16


class Scan(NamedTuple):
    """An image of a source: its size in bytes, the digest of its bytes, its header; or why it cannot be used."""

    number: int
    label: int | None
    size: int = 0
    digest: bytes = b""
    ending: str = ""
    header: ImageHeader = ImageHeader(0, 0, 0)
    bad: Skipped | None = None
    levels: Levels | None = None  # of more than 8 bits; not looked for where headers are believed


class Looks:
    """A look at each of `indices`, CHUNK by CHUNK; with `fast` an image's header is believed, nothing is decoded.

    An image that cannot be given `channels`, those of a model, cannot be used; 0: any can.
    """

    def __init__(
        self,
        source: Samples,
        indices: Int64[np.ndarray, " images"],
        fast: bool,
        reading: Preprocessing = AS_OURS,
        channels: int = 0,
    ) -> None:
        self._source, self._indices, self._fast, self._reading = source, indices, fast, reading
        self._channels = channels

    def __len__(self) -> int:
        return -(-len(self._indices) // CHUNK)

    def __getitem__(self, number: int) -> list[Scan]:
        chosen = self._indices[number * CHUNK : (number + 1) * CHUNK]
        return [self._look(index) for index in chosen.tolist()]

    def _look(self, index: int) -> Scan:
        label = self._source.label(index)
        try:
            data = self._source.read(index)
            found = header(data, self._reading)
            if not self._fast:
                decode(data, self._channels or found.channels, self._reading)
            elif self._channels and not can_become(found.channels, self._channels):
                reason = f"has {found.channels} channels, the model takes {self._channels}"
                raise BadImage(reason, WRONG_CHANNELS)
            deep = not self._fast and found.kind != "uint8"
            levels = levels_of(deep_values(data, self._reading), sampled=False) if deep else None
        except (BadImage, OSError) as error:
            return Scan(index, label, bad=skipped(error, self._source.name))
        digest = hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()
        return Scan(index, label, len(data), digest, ending_of(data) or "other", found, None, levels)
