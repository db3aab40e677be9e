"""What lies below a folder: image files, shards, tables, archives, and what is left out, counted by ending."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from nextpatch.core.marks import OURS
from nextpatch.core.text import shown
from nextpatch.data.formats import (
    NOT_IMAGES,
    START,
    ending_of,
    format_of_name,
    image_endings,
    is_read,
    remedy,
)

log = logging.getLogger(__name__)
_SYSTEM = "@eadir,#recycle,#snapshot,@recycle,lost+found,__macosx,$recycle.bin,system volume information"
SYSTEM = frozenset(_SYSTEM.split(","))
_GATHERED = ("tar", "parquet", "zip")
_COMPRESSED_TAR = (".tar.gz", ".tgz", ".tar.xz", ".tar.zst", ".tar.bz2")
_SNIFFED = 1000  # files of an unknown ending that are opened, before their ending counts as that of no image
_PICTURES = ("preview.png", "similar.png", "sheet.png")  # as the verbs call them that draw
_NO_FILE = "pipe, device or link to itself"
_LEFT_OUT = "left out of %s: %s"
_RUN = ("recipe.toml", "metrics.jsonl")  # what makes a folder one of our runs


class Contents:
    """Names relative to the folder, sorted. Files of unknown endings are told by their first bytes.

    `left_out` counts by ending what is not read. `links`: links to folders that were not followed, with the reason.
    """

    def __init__(self) -> None:
        self.images: list[str] = []
        self.tar: list[str] = []
        self.parquet: list[str] = []
        self.zip: list[str] = []
        self.lists: list[str] = []  # CSV files: they may hold labels
        self.left_out: Counter[str] = Counter()
        self.links: list[str] = []
        self._unread: dict[str, str] = {}  # an ending of images that cannot be read here -> what reads them
        self._opened: Counter[str] = Counter()
        self._found: set[str] = set()

    def add(self, name: str, first_bytes: Callable[[], bytes]) -> None:
        """A file; `first_bytes` is called where only they say what it is."""
        base = name.rpartition("/")[2]
        ending = base.rpartition(".")[2].lower() if "." in base else ""
        if base.endswith(_PICTURES) and OURS in first_bytes():
            self.left_out["picture that nextpatch drew"] += 1
        elif ending in image_endings():
            self.images.append(name)
        elif ending in _GATHERED:
            getattr(self, ending).append(name)
        elif ending in NOT_IMAGES:
            self._leave_out(base, ending)
            if ending in ("csv", "tsv"):
                self.lists.append(name)
        else:
            self._tell(name, base, ending, first_bytes)

    def _tell(self, name: str, base: str, ending: str, first_bytes: Callable[[], bytes]) -> None:
        """Of an ending that says nothing, or of a format that is not read here."""
        kind = format_of_name(ending)
        if kind is None and (self._opened[ending] < _SNIFFED or ending in self._found):
            self._opened[ending] += 1
            kind = ending_of(first_bytes())
            if kind and is_read(kind):
                self._found.add(ending)
                self.images.append(name)
                return
        self._leave_out(base, ending)
        if kind:
            self._unread[f".{ending}" if ending else "without an ending"] = remedy(kind)

    def _leave_out(self, base: str, ending: str) -> None:
        compressed = next((end for end in _COMPRESSED_TAR if base.lower().endswith(end)), "")
        self.left_out[compressed or (f".{ending}" if ending else "without an ending")] += 1

    def summary(self) -> str:
        """What is left out, in words: "10 .heic (pip install ... reads them), 3 .txt"; empty when there is nothing."""
        parts = [
            f"{count:,} {shown(ending)}" + (f" ({self._unread[ending]})" if ending in self._unread else "")
            for ending, count in self.left_out.most_common()
        ]
        return "; ".join([", ".join(parts)] * bool(parts) + self.links)

    def matters(self) -> bool:
        """Whether something is left out that its owner may have taken for images."""
        return bool(self.links or self._unread) or any(
            ending.removeprefix(".") not in NOT_IMAGES and not ending.endswith("/") for ending in self.left_out
        )

    def sort(self) -> Contents:
        """Itself, in order."""
        for names in (self.images, self.tar, self.parquet, self.zip, self.lists):
            names.sort()
        return self


def contents_of(root: Path) -> Contents:
    """Everything below a folder. Hidden files, folders of the system and our own runs are passed over.

    A link to a folder is followed once, unless it leads back into `root` or to a folder that `root` lies in: what is
    there is either met anyway, or was not meant.
    """
    found = Contents()
    for name, entry in _files_below(root, "", _Seen(root), found):
        found.add(name, functools.partial(first_bytes, entry.path))
    return found.sort()


def contents_from(names: Iterable[str], first: Callable[[str], bytes] = lambda name: b"") -> Contents:
    """The same of names alone, as a server or an archive lists them; `first`: how the file of a name begins."""
    found = Contents()
    for name in names:
        parts = name.split("/")
        system = next((part for part in parts[:-1] if part.lower() in SYSTEM), None)
        if system:
            found.left_out[f"{system}/"] += 1
        elif not any(part.startswith(".") and part not in (".", "..") for part in parts):
            found.add(name, functools.partial(first, name))
    return found.sort()


class _Seen:
    """Which folders were visited, and which links lead where they must not."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._folders: set[tuple[int, int]] = set()

    def first(self, folder: Path) -> bool:
        """Whether a folder is met for the first time."""
        status = folder.stat()
        known = len(self._folders)
        self._folders.add((status.st_dev, status.st_ino))
        return len(self._folders) > known

    def refused(self, link: str) -> str:
        """Why a link to a folder is not followed; empty when it is."""
        target = os.path.realpath(link)
        if _within(target, self._root):
            return "leads to a folder that is read anyway"
        return "leads to a folder that this one lies in" if _within(self._root, target) else ""


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _files_below(folder: Path, prefix: str, seen: _Seen, found: Contents) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """(path relative to the first `folder`, entry) of the files."""
    try:
        again = not seen.first(folder)
        entries = [] if again else sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        log.warning("left out %s: %s", shown(folder), error)
        return
    if again:
        found.links.append(f"{shown(prefix.rstrip('/'))} leads to a folder that was read before")
        return
    if prefix and {entry.name for entry in entries}.issuperset(_RUN):
        found.left_out[f"{prefix} (a run of nextpatch)"] += len(entries)
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if _is_folder(entry):
            if entry.name.lower() in SYSTEM:
                found.left_out[f"{entry.name}/"] += 1
            elif entry.is_symlink() and (reason := seen.refused(entry.path)):
                found.links.append(f"the link {shown(prefix + entry.name)} {reason}")
            else:
                yield from _files_below(Path(entry.path), f"{prefix}{entry.name}/", seen, found)
        elif _is_file(entry):
            yield prefix + entry.name, entry
        else:
            found.left_out[_NO_FILE] += 1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """A file, or a link that leads nowhere: that is told when it is read."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))  # noqa: PTH110
    except OSError:
        return False


def first_bytes(path: str) -> bytes:
    """The beginning of a file, enough to tell a format; nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a million times
            return file.read(START)
    except OSError:
        return b""


@contextlib.contextmanager
def logged_by_caller() -> Iterator[list[str]]:
    """While inside, what is left out is not logged but put into this list: the caller prints it with what it found."""
    told: list[str] = []

    def elsewhere(record: logging.LogRecord) -> bool:
        if record.msg == _LEFT_OUT:
            told.append(record.getMessage().partition(": ")[2])
        return record.msg != _LEFT_OUT

    log.addFilter(elsewhere)
    try:
        yield told
    finally:
        log.removeFilter(elsewhere)


@functools.cache
def log_left_out(name: str, summary: str, matters: bool) -> None:
    """Say once what of a collection is left out; in the log only, where none of it looks like images."""
    log.log(logging.WARNING if matters else logging.INFO, _LEFT_OUT, shown(name), summary)
