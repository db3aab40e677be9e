"""What a recipe can name, and where each thing is: one line a name, and nothing is imported before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from nextpatch.core.errors import ConfigError
from nextpatch.core.text import did_you_mean, shown


class Registry:
    """Names and the things behind them, of one `kind`: "head", "target". A place is "module:attribute".

    A recipe holds a name, never a place: a file cannot choose which code runs. From Python, `add` brings one's own.
    """

    def __init__(self, kind: str, **places: str) -> None:
        self.kind = kind
        self._places: dict[str, Any] = dict(places)
        self._ours = frozenset(places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def add(self, name: str, thing: Any) -> None:
        """Give a name to something of one's own, which may be its place; ConfigError for a name of ours.

        A name of one's own may be given again, as when a cell of a notebook runs twice.
        """
        if name in self._ours:
            raise ConfigError(f"there is a {self.kind} '{shown(name)}' already; choose another name")
        self._places[name] = thing

    def check(self, name: str) -> None:
        """ConfigError, with the nearest name, for one that is not known; imports nothing."""
        if name not in self._places:
            raise ConfigError(
                f"unknown {self.kind} '{shown(name)}'{did_you_mean(name, self)}; there are {', '.join(self._places)}"
            )

    def __getitem__(self, name: str) -> Any:
        """What the name stands for, imported now; ConfigError for a name that is not known."""
        self.check(name)
        thing = self._places[name]
        if not isinstance(thing, str):
            return thing
        module, _, attribute = thing.partition(":")
        return getattr(import_module(module), attribute)
