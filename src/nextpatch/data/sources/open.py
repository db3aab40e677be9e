"""The right kind of source for what the user names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from nextpatch.data.error import DataError
from nextpatch.data.sources import hub, torchvision
from nextpatch.data.sources.far import FarFolderSource
from nextpatch.data.sources.folder import FolderSource
from nextpatch.data.sources.parquet import ParquetSource
from nextpatch.data.sources.source import Source
from nextpatch.data.sources.tar import TarSource
from nextpatch.data.storage.place import Entry, expand, is_remote, listing
from nextpatch.data.storage.url import local_path

_SPLIT = re.compile(r"train|test|val|dev|eval")  # how the Hub's file names begin
KINDS = (
    "a folder of images, tar shards ('shards/{00..19}.tar'), Parquet files, hub:OWNER/NAME, torchvision:NAME, "
    "or an s3://, gs:// or https:// URL of those"
)


def open_source(spec: str) -> Source:
    """The images that a text names; see KINDS. A folder that holds .tar or .parquet files is those, not images.

    Raises DataError when there is nothing there or nothing in it, or when a folder mixes training and test files.
    """
    if not spec:
        raise DataError(f"no data given; name {KINDS}")
    if spec.startswith(torchvision.PREFIX):
        return torchvision.TorchvisionSource(spec)
    if spec.startswith(hub.PREFIX):
        return _of_files(hub.hub_entries(spec), spec)
    if is_remote(spec):
        return _far(spec)
    path = local_path(spec)
    if path.is_dir():
        return _folder(path)
    return _of_files(_files(spec), spec)


def _folder(folder: Path) -> Source:
    for kind in ("*.tar", "*.parquet"):
        if files := sorted(folder.glob(kind)):
            return _of_files([Entry(str(file), file.stat().st_size) for file in files], str(folder), one_split=True)
    return FolderSource(folder)


def _files(spec: str) -> list[Entry]:
    """Of a single file or a pattern."""
    try:
        return expand(spec)
    except DataError as error:
        plain = not re.search(r"[*?\[{]", spec)
        raise DataError(f"{local_path(spec)} does not exist; give {KINDS}" if plain else str(error)) from None


def _far(spec: str) -> Source:
    """A file, a pattern or a folder of another machine."""
    path = spec.partition("?")[0] if spec.startswith("http") else spec
    if re.search(r"[*\[{]", path) or path.endswith((".tar", ".parquet")):
        return _of_files(expand(spec), spec)
    entries = listing(spec)
    for kind in (".tar", ".parquet"):
        if files := [entry for entry in entries if entry.place.endswith(kind) and "/." not in entry.place]:
            return _of_files(files, spec, one_split=True)
    return FarFolderSource(spec, entries)


def _of_files(entries: Sequence[Entry], spec: str, one_split: bool = False) -> Source:
    """Tar shards or Parquet files, by their endings."""
    places = [entry.place.partition("?")[0] for entry in entries]
    if one_split:
        _check_one_split(places, spec)
    if all(place.endswith(".tar") for place in places):
        return TarSource(entries)
    if any(place.endswith((".tar.gz", ".tgz", ".tar.xz", ".tar.zst", ".tar.bz2")) for place in places):
        raise DataError(
            f"{spec}: compressed shards cannot be read at any place; uncompress them (images do not shrink)"
        )
    return ParquetSource([entry.place for entry in entries])


def _check_one_split(places: Sequence[str], folder: str) -> None:
    """Some files' names say that they are for testing: trained on, they would make every figure a lie."""
    names = [place.rpartition("/")[2] for place in places]
    splits = sorted({found[0] for name in names if (found := _SPLIT.match(name.lower()))})
    if len(splits) > 1:
        pattern = f"{folder.rstrip('/')}/{splits[-1]}*{Path(names[0]).suffix}"
        raise DataError(f"{folder} holds several splits ({', '.join(splits)}); name one: '{pattern}'")
