"""Which image format bytes are in, told by how they begin, never by the name of their file."""

from __future__ import annotations

_STARTS = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tif"),
    (b"MM\0*", "tif"),
    (b"II+\0", "tif"),  # BigTIFF
    (b"MM\0+", "tif"),
    (b"\x93NUMPY", "npy"),
)


def ending_of(data: bytes) -> str | None:
    """The file name ending of the format ("jpg", "png" ...); None for bytes of no format that is read here."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((ending for start, ending in _STARTS if data.startswith(start)), None)
