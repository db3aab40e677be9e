"""Whether an output can be written, asked before the work that fills it begins."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextpatch.core.errors import UserError
from nextpatch.core.files import replacing
from nextpatch.core.text import plain, shown

if TYPE_CHECKING:
    from PIL.Image import Image

OURS = b"tEXtSoftware\0nextpatch"  # in the first bytes of a PNG of ours


_IMAGES = re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|II\*\0|MM\0\*|BM|....ftyp(heic|avif|mif1)", re.DOTALL)
_HEAD = 4096


def check_file(path: Path, room_bytes: int = 0) -> None:
    """UserError when no file can be written at `path`: a folder is there, its folder takes none, the disk is full, or
    somebody's image is there, which no output replaces.
    """
    if path.is_dir():
        raise UserError(f"{shown(path)} is a folder; name a file in it")
    head = _head(path)
    if _IMAGES.match(head) and b"nextpatch" not in head:
        raise UserError(
            f"{shown(path)} is an image that does not say that nextpatch made it, and is not replaced; remove it, or "
            "name another file"
        )
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
    marks: dict[str, dict[str, Any]] = {"PNG": {"pnginfo": info}, "JPEG": {"comment": "nextpatch"}}
    with replacing(path) as aside:
        picture.save(aside, kind, **marks.get(kind, {}))


def check_text(path: Path) -> None:
    """`check_file` for a list or a page: UserError also when a file is there that is no text of JSON, as ours are."""
    check_file(path)
    head = _head(path).lstrip()
    if head and not head.startswith((b"{", b"[")):
        raise UserError(f"{shown(path)} is there and no JSON; it is not replaced, name another file")


def _head(path: Path) -> bytes:
    """The first bytes of a file; none where there is none, or none that can be read."""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""


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
