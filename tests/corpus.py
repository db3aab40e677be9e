"""Image files of every kind that people have, each with the pixels it must give or the kind of its badness.

The references are made from the arrays that were encoded, never by the decoder under test.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
HEIGHT, WIDTH = 24, 40
LOSSY = 16.0  # of 255: what JPEG and lossy WebP may do to a gradient, at the worst pixel
UPRIGHT = {  # EXIF orientation: what was stored, as seen from the upright picture
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a),
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: np.rot90(a, 3),
}


class Case(NamedTuple):
    """A file, the channels it is asked for in, and what must come: pixels (H x W x C) within `within`, or a kind."""

    data: bytes
    wanted: Pixels | str
    within: float = 0.0
    channels: int = 3


def gradient(height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """Smooth, so that lossy formats keep it; no two corners alike, so that turning shows."""
    rows, columns = np.linspace(0, 255, height)[:, None], np.linspace(0, 255, width)[None]
    return np.stack([rows + 0 * columns, columns + 0 * rows, 255 - (rows + columns) / 2], 2).round().astype(np.uint8)


def saved(pixels: Any, kind: str, mode: str | None = None, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    out = io.BytesIO()
    (image.convert(mode) if mode else image).save(out, kind, **options)
    return out.getvalue()


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, color: int, rows: bytes, more: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png_16(values: NDArray[np.uint16], color: int) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], 16, color, rows)


def npy(array: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def tiff(array: NDArray[Any], **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, array, metadata=None, **options)
    return out.getvalue()


def marked(jpeg: bytes, transform: int) -> bytes:
    """A JPEG with an Adobe marker of that transform in place of what it has."""
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])
    start = jpeg.find(b"\xff\xeeAdobe"[:2] + b"\x00\x0eAdobe")
    if start >= 0:
        jpeg = jpeg[:start] + jpeg[start + 16 :]
    return jpeg[:2] + adobe + jpeg[2:]


def frames(kind: str, **options: Any) -> bytes:
    first, *others = (Image.fromarray(np.roll(gradient(), 7 * n, 1)) for n in range(3))
    return saved(first, kind, save_all=True, append_images=others, duration=50, **options)


def jpegs() -> dict[str, Case]:
    picture, grey = gradient(), gradient()[:, :, 1]
    rgb = Image.fromarray(picture)
    plain = saved(rgb, "JPEG", quality=95)
    three = grey[:, :, None].repeat(3, 2)
    ink = 255 - picture.astype(int)
    cmyk = Image.fromarray(np.dstack([ink, np.zeros((HEIGHT, WIDTH))]).astype(np.uint8), "CMYK")
    cases = {
        "baseline": Case(plain, picture, LOSSY),
        "progressive": Case(saved(rgb, "JPEG", quality=95, progressive=True), picture, LOSSY),
        "optimized": Case(saved(rgb, "JPEG", quality=95, optimize=True), picture, LOSSY),
        "444": Case(saved(rgb, "JPEG", quality=95, subsampling=0), picture, LOSSY),
        "422": Case(saved(rgb, "JPEG", quality=95, subsampling=1), picture, LOSSY),
        "restarts": Case(saved(rgb, "JPEG", quality=95, restart_marker_blocks=1), picture, LOSSY),
        "stored as RGB": Case(saved(rgb, "JPEG", quality=95, keep_rgb=True), picture, LOSSY),
        "grey": Case(saved(grey, "JPEG", quality=95), three, LOSSY),
        "grey for grey": Case(saved(grey, "JPEG", quality=95), grey[:, :, None], LOSSY, 1),
        "color for grey": Case(plain, luma(picture), LOSSY, 1),
        "CMYK, inverted as Adobe does": Case(saved(cmyk, "JPEG", quality=95), picture, LOSSY),
        "large EXIF": Case(saved(rgb, "JPEG", quality=95, exif=exif(1).tobytes() + bytes(60_000)), picture, LOSSY),
        "large profile": Case(saved(rgb, "JPEG", quality=95, icc_profile=bytes(200_000)), picture, LOSSY),
        "comment": Case(saved(rgb, "JPEG", quality=95, comment=b"\xff\xd8\xff\xc0" * 50), picture, LOSSY),
        "bytes after the end": Case(plain + b"<html>" * 100, picture, LOSSY),
        "several pictures": Case(frames("MPO"), picture, LOSSY + 20),
        "called something else": Case(plain, picture, LOSSY),
        "cut in half": Case(plain[: len(plain) // 2], "damaged"),
        "cut before its end": Case(plain[:-20], "damaged"),
        "zeros from the half on": Case(plain[: len(plain) // 2] + bytes(len(plain) // 2), "damaged"),
        "only its first bytes": Case(plain[:10], "damaged"),
        "five channels asked for": Case(plain, "wrong channels", channels=5),
        "more pixels than allowed": Case(
            plain.replace(struct.pack(">HH", HEIGHT, WIDTH), b"\xff\xff\xff\xff", 1), "too large"
        ),
    }
    chroma = 255 - np.asarray(Image.fromarray(255 - picture).convert("YCbCr"))  # Pillow inverts what it saves
    ycck = Image.frombytes("CMYK", rgb.size, np.dstack([chroma, np.zeros((HEIGHT, WIDTH), np.uint8)]).tobytes())
    cases["YCCK"] = Case(marked(saved(ycck, "JPEG", quality=95), 2), picture, 2 * LOSSY)
    for orientation, stored in UPRIGHT.items():
        data = saved(np.ascontiguousarray(stored(picture)), "JPEG", quality=95, exif=exif(orientation))
        cases[f"orientation {orientation}"] = Case(data, picture, LOSSY)
    noisy = saved(np.random.default_rng(2).integers(0, 256, (80, 80), dtype=np.uint8), "JPEG")
    shown = np.asarray(Image.open(io.BytesIO(noisy)))[:, :, None]
    cases["padded with zeros before its end"] = Case(noisy[:-2] + bytes(500) + noisy[-2:], shown, 0, 1)
    cases["zeros among its pixels"] = Case(noisy[:2000] + bytes(500) + noisy[2500:], "damaged", channels=1)
    return {f"jpeg: {name}": case for name, case in cases.items()}


def luma(picture: Pixels) -> Pixels:
    return (picture @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)[:, :, None]


def pngs() -> dict[str, Case]:
    picture, noise = gradient(), np.random.default_rng(0)
    grey = picture[:, :, 1]
    alpha = noise.integers(0, 256, (HEIGHT, WIDTH, 1))
    over = (picture * (alpha / 255) + 255 * (1 - alpha / 255)).round().astype(np.uint8)
    hidden = np.dstack([picture, np.zeros((HEIGHT, WIDTH), np.uint8)])
    bits = noise.random((HEIGHT, WIDTH)) < 0.5
    few = Image.fromarray(picture).quantize(200)
    clear = few.copy()
    clear.info["transparency"] = 0
    seen = np.asarray(few.convert("RGB")).copy()
    seen[np.asarray(few) == 0] = 255
    deep = noise.integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
    plain = saved(picture, "PNG")
    cases = {
        "RGB": Case(plain, picture),
        "interlaced": Case(interlaced(picture), picture),
        "grey": Case(saved(grey, "PNG"), grey[:, :, None].repeat(3, 2)),
        "grey for grey": Case(saved(grey, "PNG"), grey[:, :, None], 0, 1),
        "color for grey": Case(plain, luma(picture), 1, 1),
        "1 bit": Case(saved(Image.fromarray(bits), "PNG"), (bits * np.uint8(255))[:, :, None].repeat(3, 2)),
        "palette": Case(saved(few, "PNG"), np.asarray(few.convert("RGB"))),
        "palette with transparency": Case(saved(clear, "PNG", transparency=0), seen),
        "alpha": Case(saved(np.dstack([picture, alpha]).astype(np.uint8), "PNG"), over, 1),
        "color hidden by alpha": Case(saved(hidden, "PNG"), np.full_like(picture, 255)),
        "grey with alpha": Case(
            saved(np.dstack([grey, np.zeros_like(grey)]), "PNG"), np.full((HEIGHT, WIDTH, 1), 255, np.uint8), 0, 1
        ),
        "16 bits": Case(png_16(deep, 2), (deep / 257).round().astype(np.uint8), 1),
        "16 bits, grey": Case(png_16(deep[:, :, :1], 0), (deep[:, :, :1] / 257).round().astype(np.uint8), 1, 1),
        "animation": Case(frames("PNG", default_image=False), picture),
        "1 x 1": Case(saved(picture[:1, :1], "PNG"), picture[:1, :1]),
        "1 x 20,000": Case(saved(np.full((1, 20_000, 3), 7, np.uint8), "PNG"), np.full((1, 20_000, 3), 7, np.uint8)),
        "20,000 x 1": Case(saved(np.full((20_000, 1, 3), 9, np.uint8), "PNG"), np.full((20_000, 1, 3), 9, np.uint8)),
        "turned by EXIF": Case(saved(np.rot90(picture).copy(), "PNG", exif=exif(6)), picture),
        "cut in half": Case(plain[: len(plain) // 2], "damaged"),
        "a flipped bit in its pixels": Case(flipped(plain, plain.find(b"IDAT") + 30), "damaged"),
        "60,000 x 60,000": Case(png(60_000, 60_000, 8, 2, bytes(10**6)), "too large"),
        "a text that grows to 100 MB": Case(
            png(4, 4, 8, 0, bytes(20), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))),
            np.zeros((4, 4, 3), np.uint8),
        ),
    }
    return {f"png: {name}": case for name, case in cases.items()}


def interlaced(picture: Pixels) -> bytes:
    """Adam7 by hand: Pillow reads it and does not write it."""
    rows = b""
    for y0, x0, dy, dx in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        rows += b"".join(b"\0" + row.tobytes() for row in picture[y0::dy, x0::dx])
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def others() -> dict[str, Case]:
    picture, noise = gradient(), np.random.default_rng(1)
    bands = noise.integers(0, 256, (HEIGHT, WIDTH, 7)).astype(np.uint8)
    deep = noise.integers(0, 65536, (HEIGHT, WIDTH, 5)).astype(np.uint16)
    unit = noise.random((HEIGHT, WIDTH, 6)).astype(np.float32)
    indexed = Image.fromarray(picture).quantize(64)
    lossless = saved(picture, "WEBP", lossless=True)
    turned = {
        f"{kind.lower()}: orientation {orientation}": Case(
            saved(np.ascontiguousarray(stored(picture)), kind, exif=exif(orientation), **options), picture
        )
        for kind, options in {"TIFF": {}, "WEBP": {"lossless": True}}.items()
        for orientation, stored in UPRIGHT.items()
    }
    return turned | {
        "webp: lossless": Case(lossless, picture),
        "webp: lossy": Case(saved(picture, "WEBP", quality=95), picture, 3 * LOSSY),
        "webp: color hidden by alpha": Case(
            saved(np.dstack([picture, np.zeros((HEIGHT, WIDTH), np.uint8)]), "WEBP", lossless=True, exact=True),
            np.full_like(picture, 255),
        ),
        "webp: animation": Case(frames("WEBP", lossless=True), picture),
        "webp: cut in half": Case(lossless[: len(lossless) // 2], "damaged"),
        "gif: one": Case(saved(indexed, "GIF"), np.asarray(indexed.convert("RGB"))),
        "gif: animation": Case(
            saved(indexed, "GIF", save_all=True, append_images=[indexed.rotate(90)]), np.asarray(indexed.convert("RGB"))
        ),
        "bmp: RGB": Case(saved(picture, "BMP"), picture),
        "bmp: cut": Case(saved(picture, "BMP")[:500], "damaged"),
        "tiff: RGB": Case(saved(picture, "TIFF"), picture),
        "tiff: LZW": Case(saved(picture, "TIFF", compression="tiff_lzw"), picture),
        "tiff: several pages": Case(frames("TIFF"), picture),
        "tiff: 16 bits, RGB": Case(
            tiff(deep[:, :, :3], photometric="rgb"), (deep[:, :, :3] / 257).round().astype(np.uint8), 1
        ),
        "tiff: 7 bands": Case(tiff(bands, photometric="minisblack", planarconfig="contig"), bands, 0, 7),
        "tiff: 7 bands, one plane each": Case(
            tiff(bands.transpose(2, 0, 1).copy(), photometric="minisblack", planarconfig="separate"), bands, 0, 7
        ),
        "tiff: 5 bands of 16 bits, deflated": Case(
            tiff(deep, photometric="minisblack", planarconfig="contig", compression="zlib"),
            (deep / 257).round().astype(np.uint8), 1, 5,
        ),
        "tiff: 6 bands of floats": Case(
            tiff(unit, photometric="minisblack", planarconfig="contig"), (unit * 255).round().astype(np.uint8), 1, 6
        ),
        "tiff: 4 bands, none of them alpha": Case(
            tiff(bands[:, :, :4], photometric="rgb", extrasamples=["unspecified"]), bands[:, :, :4], 0, 4
        ),
        "tiff: tiles": Case(
            tiff(np.tile(bands, (2, 2, 1)), photometric="minisblack", planarconfig="contig", tile=(16, 16)),
            np.tile(bands, (2, 2, 1)), 0, 7,
        ),
        "tiff: 7 bands for RGB": Case(tiff(bands, photometric="minisblack", planarconfig="contig"), "wrong channels"),
        "tiff: 7 bands, cut": Case(
            tiff(bands, photometric="minisblack", planarconfig="contig")[:3000], "damaged", channels=7
        ),
        "npy: 7 channels": Case(npy(bands), bands, 0, 7),
        "npy: 16 bits": Case(npy(deep), (deep / 257).round().astype(np.uint8), 1, 5),
        "npy: no channel axis": Case(npy(bands[:, :, 0]), bands[:, :, :1], 0, 1),
        "npy: of another kind": Case(npy(np.zeros((4, 4), np.complex64)), "unsupported", channels=1),
        "npy: cut": Case(npy(bands)[:-7], "damaged", channels=7),
        "npy: 7 channels for RGB": Case(npy(bands), "wrong channels"),
        "empty": Case(b"", "empty"),
        "a web page called .jpg": Case(b"<!DOCTYPE html><html>not found</html>", "not an image"),
        "text": Case(b"hello " * 100, "not an image"),
        "zeros": Case(bytes(5000), "not an image"),
        "PostScript": Case(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        "a pickle": Case(b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94.", "not an image"),
    }  # fmt: skip


def corpus() -> dict[str, Case]:
    """All of them, by name."""
    return {**jpegs(), **pngs(), **others()}
