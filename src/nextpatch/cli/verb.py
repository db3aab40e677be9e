"""Verbs and groups of verbs: how a word of the command line becomes a call."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tyro

from nextpatch.cli.failure import Failure
from nextpatch.core.text import shown


class Verb(NamedTuple):
    """What it is for, the dataclass of its arguments (built when needed), and what it does."""

    summary: str
    arguments: Callable[[], Any]
    run: Callable[[Any], int]


class Group(NamedTuple):
    """Verbs that follow another word, as in `nextpatch data pack`."""

    summary: str
    verbs: Mapping[str, Verb]

    def arguments(self) -> list[Any]:
        """The dataclasses of all its verbs."""
        return [verb.arguments() for verb in self.verbs.values()]


def listed(verbs: Mapping[str, Verb | Group]) -> str:
    """A line for each, for the help."""
    return "\n".join(f"  {name:<22}  {verb.summary}" for name, verb in verbs.items())


def _advice(name: str, verbs: Mapping[str, Verb] | Mapping[str, Verb | Group]) -> str:
    """The verb that is meant: one of a group by its own name, or the nearest word."""
    groups = {word: group for word, group in verbs.items() if isinstance(group, Group)}
    inner = {verb: f"{word} {verb}" for word, group in groups.items() for verb in group.verbs}
    if name in inner:
        return f"did you mean '{inner[name]}'?"
    near = difflib.get_close_matches(name, [*verbs, *inner], n=1, cutoff=0.6)
    return f"did you mean '{inner.get(near[0], near[0])}'?" if near else f"there are {', '.join(verbs)}"


def start(verbs: Mapping[str, Verb] | Mapping[str, Verb | Group], program: str, words: Sequence[str]) -> int:
    """Run the verb that the first word names with the rest of the words; returns the exit code.

    Failure for a word that names none, with the nearest that there is.
    """
    name, *rest = words
    if name not in verbs:
        raise Failure(f"unknown verb '{shown(name)}'; {_advice(name, verbs)}")
    verb, program = verbs[name], f"{program} {name}"
    if isinstance(verb, Verb):
        return verb.run(tyro.cli(verb.arguments(), prog=program, args=rest))
    if rest and rest[0] not in ("-h", "--help", "help"):
        return start(verb.verbs, program, rest)
    print(f"usage: {program} VERB ...\n\n{verb.summary}\n\n{listed(verb.verbs)}\n\n  {program} VERB --help")
    raise SystemExit(0 if rest else 2)
