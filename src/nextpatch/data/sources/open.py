"""The right kind of source for what the user names."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nextpatch.core.text import shown
from nextpatch.data.error import DataError
from nextpatch.data.formats import image_endings
from nextpatch.data.sources.contents import Contents, contents_from, contents_of, first_bytes, log_left_out
from nextpatch.data.sources.csv import open_csv, split_of_list
from nextpatch.data.sources.folder import FolderSource
from nextpatch.data.sources.hub import hub_entries
from nextpatch.data.sources.joined import JoinedSource
from nextpatch.data.sources.layout import refuse_splits
from nextpatch.data.sources.names import SOURCES, kind_of
from nextpatch.data.sources.parquet import ParquetSource
from nextpatch.data.sources.parquet_file import what_table
from nextpatch.data.sources.remote_folder import RemoteFolderSource
from nextpatch.data.sources.source import Source
from nextpatch.data.sources.tar import TarSource
from nextpatch.data.sources.zip import ZipSource
from nextpatch.data.storage.location import Entry, expand, is_remote, listing
from nextpatch.data.storage.url import local_path

_SPLIT = re.compile(r"train|test|val|dev|eval")  # how the Hub's file names begin
KINDS = (
    "a folder of images, tar shards ('shards/{00..19}.tar'), Parquet files, a .zip file, a CSV list (path,label), "
    "hub:OWNER/NAME, torchvision:NAME, demo:train, or an s3://, gs:// or https:// URL of those"
)


def open_source(spec: str) -> Source:
    """The images that a text names; see KINDS. A folder is searched to its bottom, and holds one kind of data.

    Raises DataError when there is nothing there or nothing in it, when a folder holds images and shards, or mixes
    training and test images.
    """
    if not spec:
        raise DataError(f"no data given; name {KINDS}")
    if kind := kind_of(spec):
        opened: Source = SOURCES[kind](spec)
        return opened
    if is_remote(spec):
        return _far(spec)
    path = local_path(spec)
    if path.is_dir():
        return _folder(path)
    if found := split_of_list(spec):
        return open_csv(*found)
    return _of_files(_files(spec), spec)


def open_hub(spec: str) -> Source:
    """A data set of the Hugging Face Hub."""
    return _of_files(hub_entries(spec), spec)


def _folder(folder: Path) -> Source:
    """The one kind of data that lies in a folder or below; what lies beside it is said, or refused where it matters."""
    found = contents_of(folder)
    tables, beside = _tables(folder, found.parquet)
    for what, names in beside.items():
        found.left_out[f".parquet ({what})"] += len(names)
    kinds = {"images": found.images, "tar shards": found.tar, "Parquet files with images": tables}
    present = {kind: names for kind, names in kinds.items() if names}
    if len(present) > 1:
        raise DataError(_mixed(folder, present))
    if found.images or not (present or found.zip):
        if found.zip and found.images:
            found.left_out[".zip"] += len(found.zip)
        refuse_splits(str(folder), found.images)
        return FolderSource(folder, found)
    if found.zip and not present:
        _check_one_split([str(folder / name) for name in found.zip], str(folder))
        return _archives([folder / name for name in found.zip], str(folder))
    names = found.tar or tables
    if summary := found.summary():
        log_left_out(str(folder), summary, matters=bool(beside))
    return _of_files([Entry(str(folder / name), (folder / name).stat().st_size) for name in names], str(folder), True)


def _tables(folder: Path, names: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """(Parquet files that hold images, or cannot be read; the others by what they are)."""
    images: list[str] = []
    others: dict[str, list[str]] = {}
    for name in names:
        what = what_table(folder / name)
        if what:
            others.setdefault(what, []).append(name)
        else:
            images.append(name)
    return images, others


def _mixed(folder: Path | str, present: dict[str, list[str]]) -> str:
    counted = ", ".join(f"{len(names):,} {kind} (as {shown(names[0])})" for kind, names in present.items())
    patterns = " or ".join(f"'{shown(_pattern(folder, names))}'" for names in present.values())
    return f"{shown(folder)} holds several kinds of data: {counted}; name one: {patterns}, or move the others away"


def _pattern(folder: Path | str, names: Sequence[str]) -> str:
    """A pattern of all files with the ending of the first."""
    deep = any("/" in name for name in names)
    return f"{str(folder).rstrip('/')}/{'**/' if deep else ''}*{Path(names[0]).suffix}"


def _files(spec: str) -> list[Entry]:
    """Of a single file or a pattern."""
    try:
        return expand(spec)
    except DataError as error:
        plain = not re.search(r"[*?\[{]", spec)
        if not plain and any(Path(found).is_dir() for found in glob.iglob(str(local_path(spec)))):  # noqa: PTH207
            raise DataError(f"{spec} matches folders only; name the files in them: '{spec}/**'") from None
        if plain and "does not exist" in str(error):
            raise DataError(f"{local_path(spec)} does not exist; give {KINDS}") from None
        raise


def _far(spec: str) -> Source:
    """A file, a pattern or a folder of another machine."""
    path = spec.partition("?")[0] if spec.startswith("http") else spec
    if re.search(r"[*\[{]", path) or path.endswith((".tar", ".parquet")):
        return _of_files(expand(spec), spec)
    entries = [entry for entry in listing(spec) if "/." not in entry.location]
    if [entry.location for entry in entries] == [spec]:
        return _of_files(entries, spec)
    root = spec.rstrip("/") + "/"
    for kind in (".tar", ".parquet"):
        if files := [entry for entry in entries if entry.location.endswith(kind)]:
            images = contents_from(entry.location.removeprefix(root) for entry in entries).images
            if images and kind == ".tar":
                raise DataError(_mixed(root, {"images": images, "tar shards": [files[0].location.removeprefix(root)]}))
            if not images:
                return _of_files(files, spec, one_split=True)
    source = RemoteFolderSource(spec, entries)
    refuse_splits(spec, source.names)
    return source


def _of_files(entries: Sequence[Entry], spec: str, one_split: bool = False) -> Source:
    """Tar shards, Parquet files, archives, a list of labels or image files, by their endings."""
    locations = [entry.location.partition("?")[0] if is_remote(entry.location) else entry.location for entry in entries]
    endings = {location.rpartition("/")[2].rpartition(".")[2].lower() for location in locations}
    if one_split:
        _check_one_split(locations, spec)
    if endings == {"tar"}:
        return TarSource(entries)
    if any(location.endswith((".tar.gz", ".tgz", ".tar.xz", ".tar.zst", ".tar.bz2")) for location in locations):
        raise DataError(
            f"{spec}: compressed shards cannot be read at any place; uncompress them (images do not shrink)"
        )
    near = not any(is_remote(entry.location) for entry in entries)
    if near and endings == {"zip"}:
        return _archives([Path(entry.location) for entry in entries], spec)
    if near and endings <= {"csv", "tsv"}:
        return _lists([Path(entry.location) for entry in entries])
    if not near and endings & {"zip", "csv", "tsv"}:
        raise DataError(f"{shown(spec)}: archives and lists are read on this machine only; fetch it, and what it names")
    if "npz" in endings:
        raise DataError(
            f"{spec}: an .npz file of many images is not read; save each image as a .npy file of height x width x "
            "channels, in a folder for each class"
        )
    if "parquet" not in endings and (endings & image_endings() or near):
        return _images(entries, spec, near)
    return ParquetSource([entry.location for entry in entries])


def _images(entries: Sequence[Entry], spec: str, near: bool) -> Source:
    """Image files by name; what else the pattern matches is left out."""
    root = _fixed_part(spec) if len(entries) > 1 else entries[0].location.rpartition("/")[0]
    if not near:
        return RemoteFolderSource(root, entries)
    found = Contents()
    folder = local_path(root) if root else Path()
    for entry in entries:
        path = Path(entry.location)
        name = str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
        found.add(name, partial(first_bytes, entry.location))
    found.sort()
    if not found.images:
        raise DataError(f"{shown(spec)} names no images ({found.summary() or 'nothing that is known'}); give {KINDS}")
    refuse_splits(str(folder), found.images)
    return FolderSource(folder, found, found.images)


def _fixed_part(spec: str) -> str:
    """The folder of a pattern in which everything that it matches lies."""
    return re.split(r"[*?\[{]", spec, maxsplit=1)[0].rpartition("/")[0]


def _lists(paths: Sequence[Path]) -> Source:
    """Lists of images; DataError where two of them name the same one."""
    found = [open_csv(path) for path in paths]
    first: dict[str, Path] = {}
    for path, source in zip(paths, found, strict=True):
        for file in source.files():
            if (other := first.setdefault(os.path.normpath(file), path)) != path:
                raise DataError(
                    f"{shown(path)} and {shown(other)} both name {shown(file)}: it would count twice; give one of them"
                )
    return _together(found)


def _archives(paths: Sequence[Path], spec: str) -> Source:
    """Archives of images; of several the folders count as one tree, in which no training lies beside testing."""
    found = [ZipSource(path) for path in paths]
    refuse_splits(spec, [name for source in found for name in source.names])
    return _together(found)


def _together(sources: Sequence[Source]) -> Source:
    return sources[0] if len(sources) == 1 else JoinedSource(sources)


def _check_one_split(locations: Sequence[str], folder: str) -> None:
    """Some files' names say that they are for testing: trained on, they would make every figure a lie."""
    root = folder.rstrip("/")
    refuse_splits(root, [location.removeprefix(f"{root}/") for location in locations])
    names = [location.rpartition("/")[2] for location in locations]
    splits = sorted({found[0] for name in names if (found := _SPLIT.match(name.lower()))})
    if len(splits) > 1:
        inside = locations[0].rpartition("/")[0]
        pattern = f"{inside}/{splits[-1]}*{Path(names[0]).suffix}"
        raise DataError(f"{folder} holds several splits ({', '.join(splits)}); name one: '{pattern}'")
