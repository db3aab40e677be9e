"""What a JPEG says of itself in its markers, read without decoding anything."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nextpatch.data.pixels import BadImage

_START_OF_SCAN, _HUFFMAN_TABLES, _RESTARTS, _ABOUT = 0xDA, 0xC4, 0xDD, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HARMLESS = frozenset({0xC4, 0xCC, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})  # tables, comments, what programs add
_SEQUENTIAL = (0xC0, 0xC1)
_END = b"\xff\xd9"
_HOLE = bytes(64)
_MARKER = re.compile(rb"\xff+[^\x00\xff]")
_MOST_FILLER, _MOST_SEGMENTS = 2**16, 20_000  # 20,000 segments of 64 KB are more than a file may have
_ORIENTATION, _SHORT = 0x0112, 3  # of EXIF


class JpegHeader(NamedTuple):
    """How it is coded (0xC0 baseline, 0xC2 progressive ...), what it holds, and how it is turned.

    `orientation` is EXIF's, 1 to 8; None where that takes a closer look. `scan`: where compressed pixels begin.
    """

    coding: int
    precision: int
    height: int
    width: int
    components: int
    orientation: int | None
    scan: int


def jpeg_header(data: bytes) -> JpegHeader | None:
    """The header; None unless everything before the pixels is by the book.

    Decoders differ in what they make of bytes between markers. Guessing as one of them does, we could check the size
    of another frame than the one that it decodes.
    """
    frame: tuple[int, int, int, int, int] | None = None
    about: list[bytes] = []
    for kind, start, end in _segments(data):
        if kind in _FRAMES and frame is None and end - start >= 6:
            precision, height, width, components = struct.unpack_from(">BHHB", data, start)
            frame = kind, precision, height, width, components
        elif kind == _START_OF_SCAN and frame is not None:
            return JpegHeader(*frame, _orientation(about), end)
        elif kind not in _HARMLESS:
            return None
        elif kind == _ABOUT:
            about.append(data[start:end])
    return None


def check_filler(data: bytes) -> None:
    """BadImage when much lies between the markers before the pixels that is none, or when these are very many.

    Pillow looks at such bytes one by one: five million of them would take nine seconds.
    """
    at = filler = segments = 0
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        filler += found.start() - at + found.end() - found.start() - 2
        segments += 1
        if filler > _MOST_FILLER or segments > _MOST_SEGMENTS:
            raise BadImage("holds more filler, or more parts, before its pixels than any picture does")
        if data[found.end() - 1] == _START_OF_SCAN:
            return
        alone = 0xD0 <= data[found.end() - 1] <= 0xD9 or data[found.end() - 1] == 0x01  # markers without contents
        at = found.end() + (0 if alone else int.from_bytes(data[found.end() : found.end() + 2]))
    if len(data) - at > _MOST_FILLER:
        raise BadImage("has no pixels behind its markers")


def has_end(data: bytes, header: JpegHeader) -> bool:
    """Whether an end marker comes anywhere behind the header; cameras put more pictures, or notes, after it."""
    return data.rfind(_END, header.scan) >= 0


def first_gap(data: bytes, header: JpegHeader) -> int | None:
    """At which byte 64 or more zeros begin among the compressed pixels; None without, or where an encoder writes such.

    libjpeg reads zeros as small grey ripples and says nothing: a file that was zeroed from some byte on, or lost a
    block of the disk, would be a picture with a flat part.
    """
    at = data.find(_HOLE, header.scan)
    if at < 0 or at > data.find(_END, header.scan) or header.coding not in _SEQUENTIAL:
        return None
    return at if _zeros_mean_nothing(data, header) else None


def refilled(data: bytes, header: JpegHeader, at: int) -> bytes | None:
    """The same JPEG with other bits in the hole at byte `at`: the same picture if only padding lies there.

    The first zeros stay, since they may still belong to the pixels, or to the byte before. None where pixels start
    anew every so often: there they could fill up what is left until the next start, and all behind would be passed by.
    """
    if any(kind == _RESTARTS and any(data[start:end]) for kind, start, end in _segments(data[: header.scan])):
        return None
    middle = slice(at + 8, at + len(_HOLE) - 8)
    return data[: middle.start] + b"\x55" * (middle.stop - middle.start) + data[middle.stop :]


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, where its contents start, where they end), one behind the other, while they are there."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:  # a marker may be preceded by any number of these
            found = _MARKER.match(data, at)
            if found is None:
                return
            at = found.end() - 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if not at + 4 <= end <= len(data):
            return
        yield data[at + 1], at + 4, end
        at = end


def _first_symbols(body: bytes) -> Iterator[tuple[int, int]]:
    """(class and number, the symbol whose code is all zeros) of each Huffman table."""
    at = 0
    while at + 17 < len(body):
        yield body[at], body[at + 17]
        at += 17 + sum(body[at + 1 : at + 17])


def _zeros_mean_nothing(data: bytes, header: JpegHeader) -> bool:
    """Whether zeros would be block after block of equal coefficients, rather than blocks that just end.

    One table that says so is enough when the scan holds all components, because then they take turns.
    """
    tables: dict[int, int] = {}
    scan = b""
    for kind, start, end in _segments(data[: header.scan]):
        if kind == _HUFFMAN_TABLES:
            tables.update(_first_symbols(data[start:end]))
        scan = data[start:end]
    if not scan or scan[0] != header.components or len(scan) < 1 + 2 * header.components:
        return False
    used = {0x10 | scan[2 + 2 * i] & 0x0F for i in range(header.components)}
    return any(tables.get(number, 0) & 0x0F for number in used)


def _orientation(about: Sequence[bytes]) -> int | None:
    """EXIF's, or 1; None where Pillow has to look: several EXIF parts, odd ones, or one told by XMP."""
    exif = [part for part in about if part.startswith(b"Exif\0\0")]
    told = _told(exif[0][6:]) if len(exif) == 1 else [] if not exif else None
    if told == []:
        return None if any(b"Orientation" in part for part in about if part not in exif) else 1
    return told[0] if told and len(told) == 1 and 1 <= told[0] <= 8 else None


def _told(exif: bytes) -> list[int] | None:
    """The orientations in its first directory; None where that cannot be read, or they are no short numbers."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None
    try:
        (at,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, at)
        entries = [struct.unpack_from(f"{order}HHIHH", exif, at + 2 + 12 * i) for i in range(count)]
    except struct.error:
        return None
    found = [entry for entry in entries if entry[0] == _ORIENTATION]
    return [value for *_, value, _ in found] if all(entry[1:3] == (_SHORT, 1) for entry in found) else None
