"""What a JPEG says of itself in its markers, read without decoding anything."""

from __future__ import annotations

import struct
from typing import NamedTuple

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})


class JpegHeader(NamedTuple):
    """Of the first frame: how it is coded (0xC0 baseline, 0xC2 progressive ...), and what it holds."""

    coding: int
    precision: int
    height: int
    width: int
    components: int


def jpeg_header(data: bytes) -> JpegHeader | None:
    """The header; None where the markers lead nowhere."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        kind = data[at + 1]
        if kind == 0xFF:
            at += 1
            continue
        if kind in _BARE:
            at += 2
            continue
        if kind in _FRAMES:
            if at + 10 > len(data):
                return None
            return JpegHeader(kind, *struct.unpack_from(">BHHB", data, at + 4))
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None
