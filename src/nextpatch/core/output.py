"""Whether an output can be written, asked before the work that fills it begins."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from nextpatch.core.errors import UserError
from nextpatch.core.files import replacing
from nextpatch.core.text import plain, shown

if TYPE_CHECKING:
    from PIL.Image import Image

OURS = b"tEXtSoftware\0nextpatch"  # in the first bytes of a PNG of ours


def check_file(path: Path, room_bytes: int = 0) -> None:
    """UserError when no file can be written at `path`: a folder is there, its folder takes none, the disk is full."""
    if path.is_dir():
        raise UserError(f"{shown(path)} is a folder; name a file in it")
    _check(path, path.parent, room_bytes)


def check_folder(path: Path, room_bytes: int = 0) -> None:
    """UserError when no files can be written into `path`, a folder that may still have to be made."""
    _check(path, path, room_bytes)


def picture_kind(path: Path) -> str:
    """The kind of picture that a file's ending names, as Pillow calls it; UserError when none is written with it."""
    from PIL import Image as Pillow

    kind = Pillow.registered_extensions().get(path.suffix.lower(), "")
    if kind not in Pillow.SAVE:
        raise UserError(f"{shown(path)}: no picture is written with this ending; use .png, .jpg or .webp")
    return kind


def save_picture(picture: Image, path: Path) -> None:
    """Write it, there whole or not at all; a PNG says who made it, so that it is no image of a collection."""
    from PIL.PngImagePlugin import PngInfo

    kind, info = picture_kind(path), PngInfo()
    info.add_text("Software", "nextpatch")
    with replacing(path) as aside:
        picture.save(aside, kind, **({"pnginfo": info} if kind == "PNG" else {}))


def _check(path: Path, folder: Path, room_bytes: int) -> None:
    there = folder.absolute()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise UserError(f"{shown(path)} cannot be written: {shown(there)} is no folder; choose another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(
            f"{shown(path)} cannot be written: {shown(there)} takes no files from you; choose another place"
        )
    free = shutil.disk_usage(there).free
    if room_bytes > free:
        raise UserError(
            f"{shown(path)} needs about {in_bytes(room_bytes)}, and {in_bytes(free)} are free on the disk of "
            f"{shown(there)}; make room, or choose another place"
        )


def in_bytes(count: int) -> str:
    """A number of bytes in the unit that fits it, to three digits."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{plain(size, 3)} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"
