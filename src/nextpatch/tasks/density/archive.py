"""The file of compressed images: what made it, their names, digests by which a wrong restoration is seen, and words."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nextpatch.config import from_dict
from nextpatch.core.errors import FileError
from nextpatch.core.files import write_bytes
from nextpatch.core.marks import COMPRESSED
from nextpatch.core.text import shown

_VERSION = 1
_LONGEST = 2**30  # bytes of a header when it is unpacked: more is no header


@dataclass(frozen=True)
class Header:
    """What is needed to restore the images, and to know that they are restored right.

    The decoder must compute the very probabilities of the encoder: `weights` is a digest of all tensors, `batch_size`
    and `threads` decide on the order of sums, `torch` and `cpu` on the kernels. `checks` are CRC-32 of the pixels of
    each batch, `pixels` is a SHA-256 of all; `payload` and `payload_crc` are of the coded bytes.
    """

    images: int
    names: tuple[str, ...]
    channels: int
    img_size: tuple[int, int]
    weights: str
    batch_size: int
    threads: int
    torch: str
    cpu: str
    coder: str
    bits: float  # claimed: -log2 of the probability of all images
    checks: tuple[int, ...]
    pixels: str
    payload: int
    payload_crc: int
    version: int = _VERSION

    def __post_init__(self) -> None:
        batches = -(-self.images // max(1, self.batch_size))
        if self.version != _VERSION:
            raise ValueError(f"it is of version {self.version}, and this nextpatch reads {_VERSION}")
        if len(self.names) != self.images or len(self.checks) != batches or min(self.batch_size, self.threads) < 1:
            raise ValueError("its parts are not as many as it says")


def write_archive(path: Path, header: Header, payload: bytes) -> int:
    """Write the file in one step; returns its bytes."""
    packed = zlib.compress(json.dumps(asdict(header)).encode("utf-8", "surrogateescape"), 9)
    data = COMPRESSED + len(packed).to_bytes(4, "little") + packed + payload
    write_bytes(path, data)
    return len(data)


def read_archive(path: Path) -> tuple[Header, bytes]:
    """FileError for what is no such file, is cut short, or was changed since it was written."""
    data = path.read_bytes()
    if not data.startswith(COMPRESSED):
        raise FileError(f"{shown(path)} was not written by nextpatch compress; give a file that was")
    start = len(COMPRESSED) + 4
    end = start + int.from_bytes(data[start - 4 : start], "little")
    try:
        if len(data) < end:
            raise ValueError("it is cut short")
        header = from_dict(Header, _unpacked(data[start:end]), shown(path))
        payload = data[end:]
        if len(payload) != header.payload:
            raise ValueError(f"it has {len(payload):,} of {header.payload:,} coded bytes")
        if zlib.crc32(payload) != header.payload_crc:
            raise ValueError("its coded bytes are not those that were written")
    except (ValueError, zlib.error, RecursionError) as error:
        raise FileError(f"{shown(path)} is damaged: {error}; get it again") from None
    return header, payload


def _unpacked(packed: bytes) -> dict[str, Any]:
    unpacking = zlib.decompressobj()
    text = unpacking.decompress(packed, _LONGEST)
    if unpacking.unconsumed_tail:
        raise ValueError("its header is too long")
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("its header is none")
    return values
