"""Images that this program holds in memory, by the name `python:NAME` (no torch here: `open_source` reads this)."""

from __future__ import annotations

from weakref import WeakValueDictionary

from nextpatch.core.text import shown
from nextpatch.data.error import DataError
from nextpatch.data.sources.source import Source

PREFIX = "python:"
_held: WeakValueDictionary[str, Source] = WeakValueDictionary()


def hold(source: Source) -> Source:
    """Let `held` find it by its name for as long as somebody keeps what this returns: an equal one that is there."""
    there = _held.get(source.name)
    if there is not None and (there.digest, there.classes) == (source.digest, source.classes):
        return there
    _held[source.name] = source
    return source


def held(name: str) -> Source:
    """The source of this name; DataError where this program holds none."""
    if (found := _held.get(name)) is None:
        raise DataError(
            f"{shown(name)} are images in the memory of a Python program, and not of this one; give them again, as "
            "they were given there"
        )
    return found
