"""Verbs and groups of verbs: how a word of the command line becomes a call."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tyro

from nextpatch.cli.failure import Failure


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


def start(verbs: Mapping[str, Verb] | Mapping[str, Verb | Group], program: str, words: Sequence[str]) -> int:
    """Run the verb that the first word names with the rest of the words; returns the exit code.

    Failure for a word that names none, with the nearest that there is.
    """
    name, *rest = words
    if name not in verbs:
        near = difflib.get_close_matches(name, verbs, n=1, cutoff=0.4)
        advice = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(verbs)}"
        raise Failure(f"unknown verb '{name}'; {advice}")
    verb, program = verbs[name], f"{program} {name}"
    if isinstance(verb, Verb):
        return verb.run(tyro.cli(verb.arguments(), prog=program, args=rest))
    if rest and rest[0] not in ("-h", "--help", "help"):
        return start(verb.verbs, program, rest)
    print(f"usage: {program} VERB ...\n\n{verb.summary}\n\n{listed(verb.verbs)}\n\n  {program} VERB --help")
    raise SystemExit(0 if rest else 2)
