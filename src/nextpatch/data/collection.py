"""What `data.train` names: one source, several as one, or a weighted mixture of several."""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from nextpatch.core.text import shown
from nextpatch.data.error import DataError
from nextpatch.data.sources.joined import JoinedSource
from nextpatch.data.sources.names import kind_of
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Source
from nextpatch.data.sources.united import UnitedLabels
from nextpatch.data.storage.location import braced, exists, is_remote
from nextpatch.data.storage.url import local_path

_MOST_NAMES = 1000  # of a pattern with braces, that are looked for


class Collection(NamedTuple):
    """All samples in one numbering, and the parts that the training order mixes, in that order."""

    source: Source
    parts: tuple[Source, ...]
    weights: tuple[float, ...]


def open_collection(specs: Sequence[str]) -> Collection:
    """Open what each spec names; with `=WEIGHT` behind every one of them, a mixture in these proportions.

    Without weights several sources count as one collection, of which each sample is shown equally often. DataError for
    what `open_source` refuses, for a weight that is not above 0, when only some have one, and when two of them hold the
    same files: these would count twice, and be learned where they are held out.
    """
    if not specs:
        raise DataError("no data given; name a folder of images, tar shards or a .parquet file")
    locations, weights = zip(*(divided(spec) for spec in specs), strict=True)
    given = [weight for weight in weights if weight is not None]
    if len(given) not in (0, len(specs)):
        without = next(location for location, weight in zip(locations, weights, strict=True) if weight is None)
        raise DataError(f"{without} has no weight, but others have; write {without}=WEIGHT, or give none a weight")
    for location, weight in zip(locations, given, strict=False):
        if not 0 < weight < math.inf:
            raise DataError(
                f"a weight of {weight:g} is not valid in a mixture; give {shown(location)} one above 0, or leave it out"
            )
    sources = tuple(map(_opened, specs, locations))
    _refuse_twice(locations, sources)
    whole = sources[0] if len(sources) == 1 else JoinedSource(sources)
    if not given:
        return Collection(whole, (whole,), (1.0,))
    return Collection(whole, sources, tuple(given))


def with_classes(collection: Collection, classes: Sequence[str]) -> Collection:
    """The same, with these classes as labels, by name; as it is where no classes are given."""
    if not classes:
        return collection
    parts = collection.source.sources if isinstance(collection.source, JoinedSource) else (collection.source,)
    united = UnitedLabels(parts, tuple(classes))
    return collection._replace(source=united, parts=collection.parts if len(collection.parts) > 1 else (united,))


def _refuse_twice(locations: Sequence[str], sources: Sequence[Source]) -> None:
    """DataError where two sources have a local file in common, or are one place by name."""
    seen: dict[tuple[str, str], int] = {}  # (real folder, file) -> the first source that has it
    for number, source in enumerate(sources):
        first = locations.index(locations[number])
        files = [os.path.split(file) for file in getattr(source, "files", list)()] if len(sources) > 1 else []
        folders = {folder: os.path.realpath(folder) for folder, _ in files}
        for folder, name in files:
            first = min(first, seen.setdefault((folders[folder], name), number))
        if first < number:
            common = sum(seen[folders[folder], name] < number for folder, name in files)
            what = f"{common:,} files of {shown(locations[first])}" if common else "what was named before"
            raise DataError(
                f"{shown(locations[number])} names {what} once more: they would count twice, and be learned where they "
                "are held out; name each place once, or the folders in it apart"
            )


def _opened(spec: str, location: str) -> Source:
    """The source at a place; where neither it nor what was written is there, both are named."""
    try:
        return open_source(location)
    except DataError as error:
        far = bool(kind_of(location)) or is_remote(location)
        if location == spec or far or _is_there(location, location):
            raise
        raise DataError(
            f"neither {shown(spec)} exists, nor {shown(location)} with a weight behind it: {error}"
        ) from None


def folder_holding(path: Path, specs: Sequence[str]) -> Path | None:
    """The folder of images, one of `specs`, that a file at `path` would lie in; None where it lies in none."""
    for location, _ in map(divided, specs):
        if kind_of(location) or is_remote(location) or not location:
            continue
        folder = local_path(location).resolve()
        if folder.is_dir() and path.resolve().is_relative_to(folder):
            return folder
    return None


def outside(path: Path, specs: Sequence[str], default: bool = False, flag: str = "--out") -> Path:
    """`path`, the value of `flag`, where what is written there does not lie among the images of a collection.

    Else the same name beside the collection, for a `default`, and DataError for what the user chose.
    """
    folder = folder_holding(path, specs)
    if folder is None:
        return path
    if default:
        return folder.parent / f"{folder.name}-{path.name}"
    raise DataError(f"{shown(path)} lies in {shown(folder)}, whose images it would mix with; choose another {flag}")


def absolute(spec: str) -> str:
    """The spec with a local place written from the root, so that it means the same wherever it is read again."""
    location, _ = divided(spec)
    if kind_of(location) or is_remote(location):
        return spec
    return os.path.abspath(local_path(location)) + spec[len(location) :]  # noqa: PTH100 - links stay as they are named


def relative(spec: str) -> str:
    """The spec for a person: a local place from here where it lies below, else by its name; others do not see ours."""
    location, _ = divided(spec)
    path = Path(location)
    if not path.is_absolute():
        return spec
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else Path(path.name)
    return f"{shown}{spec[len(location) :]}"


def divided(spec: str) -> tuple[str, float | None]:
    """ "PLACE=0.8" as (place, weight); the weight is None where there is none.

    What exists as it is written is the place, whatever stands behind its `=`: folders are called year=2024 and lr=0.1.
    A URL's query (`?download=1`) is never a weight.
    """
    location, sign, weight = spec.rpartition("=")
    try:
        number = float(weight) if sign else None
    except ValueError:
        number = None
    if number is None or (spec.startswith(("http://", "https://")) and "?" in spec) or _is_there(spec, location):
        return spec, None
    return location, number


def _is_there(spec: str, location: str) -> bool:
    """Whether there is something at a place that ends like a weight."""
    if kind_of(spec):
        return False
    if not is_remote(spec):
        names = islice(braced(spec), _MOST_NAMES)
        written = os.path.lexists(local_path(spec))  # brackets may be part of its name
        return written or any(next(glob.iglob(str(local_path(name))), None) for name in names)  # noqa: PTH207
    if re.search(r"[*?\[{]|\.(tar|parquet)$", location):  # a pattern, or a file: what stands behind it is a weight
        return False
    try:
        return exists(spec)
    except OSError:
        return False  # what does not answer now will say so when it is opened
