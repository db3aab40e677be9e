"""Images that this program holds in memory, by the name `python:NAME` (no torch here: `open_source` reads this)."""

from __future__ import annotations

from weakref import ref

from nextpatch.core.text import shown
from nextpatch.data.error import DataError
from nextpatch.data.sources.source import Source

PREFIX = "python:"
_held: dict[str, list[ref[Source]]] = {}


def hold(source: Source) -> Source:
    """Let `held` find it by its name for as long as somebody keeps it; of several by one name the newest is found."""
    _held[source.name] = [*_alive(source.name), ref(source)]
    return source


def held(name: str) -> Source:
    """The source of this name; DataError where this program holds none."""
    found = [source for one in _alive(name) if (source := one()) is not None]
    if not found:
        raise DataError(
            f"{shown(name)} are images in the memory of a Python program, and not of this one; give them again, as "
            "they were given there"
        )
    return found[-1]


def _alive(name: str) -> list[ref[Source]]:
    return [one for one in _held.get(name, ()) if one() is not None]
