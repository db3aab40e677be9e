"""Image formats: by how bytes begin, and by the endings that files of them have; which of them can be read here."""

from __future__ import annotations

import re
from functools import cache

_BY_FORMAT = {
    "jpg": "jpg jpeg jpe jfif jif",
    "png": "png",
    "webp": "webp",
    "gif": "gif",
    "bmp": "bmp dib",
    "tif": "tif tiff",
    "npy": "npy",
    "ppm": "ppm pgm pbm pnm",
    "avif": "avif avifs",
    "heic": "heic heif hif heics heifs",
    "raw": "dng nef nrw cr2 cr3 crw arw srf sr2 orf rw2 raf pef ptx srw rwl 3fr iiq mos mef mrw erf kdc dcr x3f gpr",
}
_FORMAT_OF = {ending: kind for kind, endings in _BY_FORMAT.items() for ending in endings.split()}
_STARTS = (
    (b"II*\0\x10\0\0\0CR", "raw"),  # before TIFF, as which raw photos of many makers begin
    (b"IIRO", "raw"),
    (b"IIRS", "raw"),
    (b"IIU\0", "raw"),
    (b"FUJIFILMCCD-RAW", "raw"),
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
_PPM = re.compile(rb"P[1-6][\s#]")
_AVIF = (b"avif", b"avis")
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
START = 64  # bytes that are enough to tell a format
RAW_REMEDY = "save raw photos as TIFF or JPEG"
_BESIDE = """
txt text md rst html htm css js json jsonl ndjson geojson xml yaml yml toml ini cfg csv tsv parquet arrow feather log db
sqlite lock py ipynb sh bat c cpp h mat pkl pickle pt pth ckpt safetensors onnx pb bin npz h5 hdf5 zarr tar tgz gz bz2
xz zst zip 7z rar mp4 mov avi mkv webm wmv mpg mpeg m4v mp3 wav flac ogg m4a aac pdf doc docx xls xlsx ppt pptx ds_store
part tmp bak cls idx xmp aae thm url lnk exe dll so srt vtt
"""
NOT_IMAGES = frozenset(_BESIDE.split())
"""Endings of files that lie beside images and never are images: they are counted, and not opened."""


def ending_of(data: bytes) -> str | None:
    """The file name ending of the format ("jpg", "png" ...); None for bytes of no format that is known here."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return _ending_of_boxes(data)
    if _PPM.match(data):
        return "ppm"
    return next((ending for start, ending in _STARTS if data.startswith(start)), None)


def _ending_of_boxes(data: bytes) -> str | None:
    """AVIF or HEIC, by the brands in the first box of an ISO file."""
    length = min(int.from_bytes(data[:4], "big"), len(data), START)
    if data[8:12] == b"crx ":
        return "raw"
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, length - 3, 4))]
    if any(brand in _AVIF for brand in brands):
        return "avif"
    return "heic" if any(brand in _HEIC for brand in brands) else None


def format_of_name(ending: str) -> str | None:
    """The format that files with this ending (without its dot, in lower case) are in; None where that is unknown."""
    return _FORMAT_OF.get(ending)


def remedy(kind: str) -> str:
    """What makes the images of a format that is not read here readable."""
    known = {"heic": "pip install 'nextpatch[heif]' reads them", "raw": RAW_REMEDY}
    return known.get(kind, f"Pillow here reads no {kind.upper()}")


def is_read(kind: str) -> bool:
    """Whether images of a format can be decoded with the libraries that are installed."""
    if kind == "raw":
        return False
    if kind == "avif":
        return "AVIF" in pillow_formats()
    return "HEIF" in pillow_formats() if kind == "heic" else True


@cache
def pillow_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that it may open; AVIF and HEIC where the libraries for them are there."""
    from PIL import features

    found = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"]
    if features.check("avif"):
        found.append("AVIF")
    try:
        import pi_heif
    except ImportError:
        return tuple(found)
    pi_heif.register_heif_opener()
    return (*found, "HEIF")


@cache
def image_endings() -> frozenset[str]:
    """Endings, without their dot, of the files that can be read here."""
    return frozenset(ending for ending, kind in _FORMAT_OF.items() if is_read(kind))
