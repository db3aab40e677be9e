"""Images that lie in two collections which must be apart, found by their bytes: what is tested must not be learned."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64

from nextpatch.core.text import shown
from nextpatch.data.decode import BadImage, decode, header
from nextpatch.data.error import DataError
from nextpatch.data.sources.held import PREFIX
from nextpatch.data.sources.source import Samples

log = logging.getLogger(__name__)
Overlap = Literal["refuse", "leave-out", "keep"]
_REPORT_S = 10.0
MOST = 20_000  # training images that are compared where it is only to be found out whether there is an overlap

Indices = Int64[np.ndarray, " _"]


@dataclass(frozen=True)
class SharedImages:
    """Images of one collection that are in another one too: their indices, and one pair of names to show."""

    indices: Indices
    looked_at: int
    example: tuple[str, str] = ("", "")

    def __str__(self) -> str:
        """In words."""
        name, other = (shown(text) for text in self.example)
        return f"{len(self.indices):,} of {self.looked_at:,} (for example {name} = {other})"


def find_shared(
    learned: Samples, learned_indices: Indices, tested: Samples, tested_indices: Indices, most: int | None = None
) -> SharedImages:
    """Which of the tested images have the bytes of a learned one, whatever both are called and however they are kept.

    Where one of them is in the memory of a program, pixels are compared in place of bytes: the same images may be
    arrays here, and tensors, images of Pillow or files there.

    Each image is read once. With `most` only so many of the learned images are looked at, evenly spread: enough to find
    out that one collection was copied from the other. An image that cannot be read is in no collection.
    """
    if most is not None and len(learned_indices) > most:
        learned_indices = learned_indices[np.linspace(0, len(learned_indices) - 1, most).astype(np.int64)]
    in_memory = any(source.name.startswith(PREFIX) for source in (learned, tested))
    wanted = dict(_digests(tested, tested_indices, in_memory))
    sought = set(wanted.values())
    found: dict[bytes, int] = {}
    for index, digest in _digests(learned, learned_indices, in_memory):
        if digest in sought:
            found.setdefault(digest, index)
    both = [index for index, digest in wanted.items() if digest in found and _is_image(tested.read(index))]
    example = (tested.key(both[0]), learned.key(found[wanted[both[0]]])) if both else ("", "")
    return SharedImages(np.array(both, dtype=np.int64), len(tested_indices), example)


def without_overlap(
    tested_indices: Indices, found: SharedImages, tested: str, learned: str, overlap: Overlap
) -> Indices:
    """The images to test on, when some of them are also learned from.

    DataError with "refuse" where there are any; with "leave-out" they are left out, with "keep" they stay; both are
    logged. DataError, too, when none is left.
    """
    if not len(found.indices):
        return tested_indices
    said = f"test images of {shown(tested)} are also among the training images of {shown(learned)}: {found}"
    if overlap == "refuse":
        raise DataError(
            f"{said}. The accuracy would be too high. Give other test images, skip these with --overlap leave-out, or "
            "measure with them all the same: --overlap keep"
        )
    if overlap == "keep":
        log.warning("%s; they are kept, so the figures are too high", said)
        return tested_indices
    kept = tested_indices[~np.isin(tested_indices, found.indices)]
    if not len(kept):
        raise DataError(f"{said}. None is left to test on; give other test images")
    log.warning("%s; they are not tested on", said)
    return kept


def _is_image(data: bytes) -> bool:
    """Whether it looks like one: two empty or damaged files are equal, and are neither learned nor tested."""
    try:
        header(data)
    except BadImage:
        return False
    return True


def _digests(source: Samples, indices: Sequence[int] | Indices, of_pixels: bool) -> Iterator[tuple[int, bytes]]:
    """(index, digest of the bytes, or of the pixels), as they lie; the log says how far it is where it takes long."""
    said_s = time.monotonic()
    for done, index in enumerate(sorted(int(index) for index in indices)):
        if time.monotonic() - said_s > _REPORT_S:
            said_s = time.monotonic()
            log.info("comparing training and test images: %d of %d of %s", done, len(indices), shown(source.name))
        try:
            data = source.read(index)
        except (OSError, ValueError):
            continue
        yield index, hashlib.blake2b(_pixels(data) if of_pixels else data, digest_size=16).digest()


def _pixels(data: bytes) -> bytes:
    """Shape and pixels in color, 8 bits; the bytes as they are of what does not decode to that."""
    try:
        pixels = decode(data, 3)
    except BadImage:
        return data
    return str(tuple(pixels.shape)).encode() + pixels.numpy().tobytes()
