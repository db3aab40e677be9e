"""How large remote files are: many asked for at once, by a listing of their folder where the server has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nextpatch.core.threads import map_in_threads
from nextpatch.data.error import DataError
from nextpatch.data.storage.read import asked, retried
from nextpatch.data.storage.url import filesystem

MANY = 100  # of a folder: from here on its listing is sooner here than an answer for each
THREADS = 32
_LISTED = ("s3://", "gs://", "gcs://", "hf://", "memory://")  # what a web server shows of a folder is no listing


def sizes(locations: Sequence[str]) -> list[int | None]:
    """Bytes of each file, None where the server does not say; DataError for one that is not there."""
    known: dict[str, int | None] = {}
    for folder, members in _by_folder(locations).items():
        if len(members) >= MANY and folder.startswith(_LISTED):
            known |= _listed(folder, members)
    left = [location for location in locations if location not in known]
    known |= zip(left, _asked_at_once(left), strict=True)
    return [known[location] for location in locations]


def _asked_at_once(locations: Sequence[str]) -> list[int | None]:
    """The answers for each; the first that fails ends it."""
    located = [
        (location, *filesystem(location)) for location in locations
    ]  # in this thread: each has connections of its own
    return list(map_in_threads(_asked, located, THREADS))


def _by_folder(locations: Sequence[str]) -> dict[str, list[str]]:
    folders: dict[str, list[str]] = {}
    for location in locations:
        folders.setdefault(location.rpartition("/")[0], []).append(location)
    return folders


def _listed(folder: str, members: Sequence[str]) -> dict[str, int | None]:
    """The sizes that a listing of the folder shows; nothing where listing is not allowed."""
    fs, path = filesystem(folder)
    try:
        found = {info["name"]: info.get("size") for info in retried(folder, lambda: fs.ls(path, detail=True))}
    except OSError:
        return {}
    names = {member: f"{path.rstrip('/')}/{member.rpartition('/')[2]}" for member in members}
    return {member: found[name] for member, name in names.items() if name in found}


def _asked(located: tuple[str, Any, str]) -> int | None:
    """The size that the server says when asked for one file."""
    location, fs, path = located
    try:
        size = retried(location, lambda: asked(fs, "info", path)).get("size")
    except FileNotFoundError:
        raise DataError(f"{location} does not exist; check the name, or leave it out of the pattern") from None
    return None if size is None else int(size)
