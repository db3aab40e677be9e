"""Whether an output can be written, asked before the work that fills it begins."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextpatch.core.errors import UserError
from nextpatch.core.files import replacing
from nextpatch.core.marks import MARK, is_ours
from nextpatch.core.text import format_bytes, shown

if TYPE_CHECKING:
    from PIL.Image import Image

_PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}  # as Pillow calls what can carry a mark
_MARKLESS = (".csv", ".md", ".npy")  # formats that cannot, and files whose keys others decide
_TOLD_BY_OTHERS = ("config.json", "report.json")
_SOFTWARE = 0x0131  # a tag of EXIF


def check_file(path: Path, needed_bytes: int = 0, beside: Sequence[Path] = ()) -> None:
    """UserError when no file can be written at `path`: a folder is there, its folder takes none, the disk is full, or
    a file is there that nextpatch did not write, which no output replaces. The same for those written `beside` it.
    """
    for one in (path, *beside):
        if one.is_dir():
            raise UserError(f"{shown(one)} is a folder; name a file in it")
        _check(one, one.parent, needed_bytes if one == path else 0)
    _check_ours((path, *beside))


def check_folder(path: Path, needed_bytes: int = 0, files: Sequence[str] = ()) -> None:
    """UserError when no files can be written into `path`, a folder that may still have to be made, or when one of
    `files`, which would be replaced in it, is there and nextpatch did not write it.
    """
    _check(path, path, needed_bytes)
    _check_ours([path / name for name in files])


def _check_ours(paths: Sequence[Path]) -> None:
    """UserError for the first that is there and somebody else's; one without a mark is ours beside one with it."""
    there = [path for path in paths if os.path.lexists(path)]
    ours = {path for path in there if path.is_file() and is_ours(path)}
    for path in there:
        told_by_others = path.suffix in _MARKLESS or path.name in _TOLD_BY_OTHERS
        if path not in ours and not (told_by_others and any(one.stat().st_size for one in ours)):
            raise UserError(
                f"{shown(path)} exists and was not written by nextpatch, so it is not replaced; remove it, or choose "
                "another name"
            )


def picture_kind(path: Path) -> str:
    """The kind of picture that a file's ending names, as Pillow calls it; UserError when none is written with it."""
    if kind := _PICTURES.get(path.suffix.lower()):
        return kind
    raise UserError(f"{shown(path)}: the file name must end in .png, .jpg or .webp")


def save_picture(picture: Image, path: Path) -> None:
    """Write it, there whole or not at all, with a mark: so it is replaced, and as PNG no image of a collection."""
    from PIL.Image import Exif
    from PIL.PngImagePlugin import PngInfo

    kind, info, exif = picture_kind(path), PngInfo(), Exif()
    info.add_text("Software", MARK)
    exif[_SOFTWARE] = MARK
    marks: dict[str, dict[str, Any]] = {"PNG": {"pnginfo": info}, "JPEG": {"comment": MARK}, "WEBP": {"exif": exif}}
    with replacing(path) as aside:
        picture.save(aside, kind, **marks[kind])


def _check(path: Path, folder: Path, needed_bytes: int) -> None:
    there = folder.absolute()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise UserError(f"{shown(path)} cannot be written: {shown(there)} is not a folder; choose another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(
            f"{shown(path)} cannot be written: {shown(there)} is not writable for you; choose another place"
        )
    free = shutil.disk_usage(there).free
    if needed_bytes > free:
        raise UserError(
            f"{shown(path)} needs about {format_bytes(needed_bytes)}, and {format_bytes(free)} are free on the disk of "
            f"{shown(there)}; make room, or choose another place"
        )
