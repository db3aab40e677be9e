"""What `data.train` names: one source, several as one, or a weighted mixture of several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nextpatch.data.error import DataError
from nextpatch.data.sources import hub, torchvision
from nextpatch.data.sources.joined import JoinedSource
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Source
from nextpatch.data.storage.place import is_remote
from nextpatch.data.storage.url import local_path


class Collection(NamedTuple):
    """All samples in one numbering, and the parts that the training order mixes, in that order."""

    source: Source
    parts: tuple[Source, ...]
    weights: tuple[float, ...]


def open_collection(specs: Sequence[str]) -> Collection:
    """Open what each spec names; with `=WEIGHT` behind every one of them, a mixture in these proportions.

    Without weights several sources count as one collection, of which each sample is shown equally often. DataError for
    what `open_source` refuses, for a weight that is not above 0, and when only some have one.
    """
    if not specs:
        raise DataError("no data given; name a folder of images, tar shards or a .parquet file")
    places, weights = zip(*(divided(spec) for spec in specs), strict=True)
    given = [weight for weight in weights if weight is not None]
    if len(given) not in (0, len(specs)):
        without = next(place for place, weight in zip(places, weights, strict=True) if weight is None)
        raise DataError(f"{without} has no weight, but others have; write {without}=WEIGHT, or give none a weight")
    if any(weight <= 0 for weight in given):
        raise DataError(f"a weight of {min(given):g} shows nothing; leave that source out")
    sources = tuple(open_source(place) for place in places)
    whole = sources[0] if len(sources) == 1 else JoinedSource(sources)
    if not given:
        return Collection(whole, (whole,), (1.0,))
    return Collection(whole, sources, tuple(given))


def absolute(spec: str) -> str:
    """The spec with a local place written from the root, so that it means the same wherever it is read again."""
    place, _ = divided(spec)
    if place.startswith((hub.PREFIX, torchvision.PREFIX)) or is_remote(place):
        return spec
    return os.path.abspath(local_path(place)) + spec[len(place) :]  # noqa: PTH100 - links stay as they are named


def relative(spec: str) -> str:
    """The spec for a person: a local place from here where it lies below, else by its name; others do not see ours."""
    place, _ = divided(spec)
    path = Path(place)
    if not path.is_absolute():
        return spec
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else Path(path.name)
    return f"{shown}{spec[len(place) :]}"


def divided(spec: str) -> tuple[str, float | None]:
    """ "PLACE=0.8" as (place, weight); the weight is None where there is none."""
    place, sign, weight = spec.rpartition("=")
    try:
        return (place, float(weight)) if sign else (spec, None)
    except ValueError:
        return spec, None
