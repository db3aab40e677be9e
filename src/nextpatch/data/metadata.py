"""Encoded images without what is not their pixels: text, color profiles and comments are no reason to refuse any."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_TURNING = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # texts that may say how the image is turned
_TEXT = 2**19  # bytes of such a text: beyond, it is left out
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 2**20
_COMMENT, _EXTENSION, _IMAGE = 0xFE, 0x21, 0x2C  # of GIF


def without_metadata(data: bytes) -> bytes:
    """The same picture without chunks that do not change it; bytes that are not understood are left as they are."""
    if data.startswith(_PNG):
        return _joined(data, _png_parts(data))
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return _joined(data, _gif_parts(data))
    return data


def png_bytes(data: bytes) -> tuple[int, int]:
    """(bytes that the pixels of a PNG inflate to, bytes that its size asks for), its filters' included."""
    inflater, found = zlib.decompressobj(), 0
    for kind, start, end in _png_chunks(data):
        packed = data[start + 8 : end - 4] if kind == b"IDAT" else b""
        while packed:
            found += len(inflater.decompress(packed, _PIECE))
            packed = inflater.unconsumed_tail
    width, height = _number(data, 16), _number(data, 20)
    bits = data[24] * _PNG_CHANNELS.get(data[25], 1)
    passes = _ADAM7 if data[28] else ((0, 0, 1, 1),)
    asked = 0
    for left, top, across, down in passes:
        columns, rows = -(-max(0, width - left) // across), -(-max(0, height - top) // down)
        asked += rows * (1 + -(-columns * bits // 8)) if columns else 0
    return found, asked


def pictures(data: bytes) -> int:
    """How many pictures a PNG, GIF, WebP or JPEG file says that it holds: frames, or images behind the first."""
    if data.startswith(_PNG):
        return next((_number(data, at + 8) for kind, at, _ in _png_chunks(data) if kind == b"acTL"), 1)
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return max(1, sum(kind == _IMAGE for kind, _, _ in _gif_blocks(data)))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return max(1, sum(kind == b"ANMF" for kind in _riff_chunks(data)))
    return 2 if data.startswith(b"\xff\xd8") and b"MPF\0" in data[: 2**17] else 1


def _joined(data: bytes, parts: Iterator[tuple[int, int]]) -> bytes:
    """The kept stretches of `data`; itself when nothing is left out."""
    kept = list(parts)
    return data if sum(end - start for start, end in kept) == len(data) else b"".join(data[a:b] for a, b in kept)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, where it starts, where it ends) of every whole chunk."""
    at = len(_PNG)
    while at + 12 <= len(data):
        end = at + 12 + _number(data, at)
        if end > len(data):
            return
        yield data[at + 4 : at + 8], at, end
        at = end


def _png_parts(data: bytes) -> Iterator[tuple[int, int]]:
    yield 0, len(_PNG)
    last = len(_PNG)
    for kind, start, last in _png_chunks(data):
        if kind in _KEPT or not kind[0] & 0x20 or (kind in _TEXTS and _turns(kind, data[start + 8 : last - 4])):
            yield start, last
    yield last, len(data)


def _turns(kind: bytes, body: bytes) -> bool:
    """Whether a text may hold an orientation, and is small, also when it is inflated."""
    if len(body) > _TEXT or not body.startswith(_TURNING):
        return False
    if kind == b"tEXt":
        return True
    packed = body[body.index(b"\0") + 2 :] if kind == b"zTXt" else b""
    if kind == b"iTXt":
        return body[body.index(b"\0") + 1 : body.index(b"\0") + 2] == b"\0"  # not compressed
    inflater = zlib.decompressobj()
    try:
        return len(inflater.decompress(packed, _TEXT)) < _TEXT
    except zlib.error:
        return False


def _gif_blocks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(kind, where it starts, where it ends) of every whole block: extensions and images."""
    at = 13 + (3 << (data[10] & 7) + 1 if len(data) > 10 and data[10] & 0x80 else 0)
    while at + 2 < len(data) and data[at] in (_EXTENSION, _IMAGE):
        kind = data[at] if data[at] == _IMAGE else data[at + 1]
        inner = at + 2
        if kind == _IMAGE and data[at] == _IMAGE:
            if at + 10 >= len(data):
                return
            inner = at + 11 + (3 << (data[at + 9] & 7) + 1 if data[at + 9] & 0x80 else 0)
        while inner < len(data) and data[inner]:
            inner += data[inner] + 1
        if inner >= len(data):
            return
        yield (_IMAGE if data[at] == _IMAGE else kind), at, inner + 1
        at = inner + 1


def _gif_parts(data: bytes) -> Iterator[tuple[int, int]]:
    """All but the comments before the first image, which is the one that is shown."""
    last = None
    for kind, start, end in _gif_blocks(data):
        if last is None:
            yield 0, start
        if kind != _COMMENT:
            yield start, end
        last = end
        if kind == _IMAGE:
            break
    yield last or 0, len(data)


def _riff_chunks(data: bytes) -> Iterator[bytes]:
    at = 12
    while at + 8 <= len(data):
        yield data[at : at + 4]
        (size,) = struct.unpack_from("<I", data, at + 4)
        at += 8 + size + size % 2


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
