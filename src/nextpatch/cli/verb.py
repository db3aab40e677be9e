"""Verbs and groups of verbs: how a word of the command line becomes a call."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from nextpatch.cli.failure import Failure
from nextpatch.cli.flags import parse
from nextpatch.cli.starting import loaded
from nextpatch.core.text import shown
from nextpatch.core.writer import only_writer
from nextpatch.dist.launch import world_size

_OUTPUTS = ("--out", "--bad", "--cache")


class Output(NamedTuple):
    """A folder that a verb writes into, or one file."""

    path: Path
    file: bool = False


class Verb(NamedTuple):
    """What it is for, the dataclass of its arguments, and what it does.

    `writes` says which outputs are held for this process while it runs; a verb with `ranks`, which several processes of
    a launcher do together, holds its own. `needs` are modules that take seconds to load.
    """

    summary: str
    arguments: type
    run: Callable[[Any], int]
    writes: Callable[[Any], Sequence[Output]] = lambda args: ()
    ranks: bool = False
    needs: Sequence[str] = ()


class Group(NamedTuple):
    """Verbs that follow another word, as in `nextpatch data pack`."""

    summary: str
    verbs: Mapping[str, Verb]


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


def _run(verb: Verb, program: str, args: Any) -> int:
    """Do it, with its outputs held; Failure for one process of several where the verb is the work of one."""
    leads = world_size() == 1 or os.environ["RANK"] == "0"
    if world_size() > 1 and not verb.ranks:
        raise Failure(f"{program} runs in a single process; start it without torchrun" if leads else "")
    loaded(*verb.needs)
    with ExitStack() as held:
        for output in verb.writes(args):
            held.enter_context(only_writer(output.path, program.removeprefix("nextpatch "), file=output.file))
        try:
            return verb.run(args)
        except RuntimeError as error:
            from nextpatch.dist.ranks import PeerError

            if not isinstance(error, PeerError):
                raise
            raise Failure(f"stopped with the others: {error}" if leads else "") from error


def _refuse_odd(words: Sequence[str]) -> None:
    """Failure for an empty value, which Python takes for the current folder, and for an output that cannot be printed.

    Values of a recipe, which have a point in their flag, may be empty: so one of a recipe is taken back.
    """
    for before, word in zip(["", *words], words, strict=False):
        flag, equals, value = word.partition("=") if word.startswith("--") else (before, "", word)
        named = flag if flag.startswith("--") else ""
        if not value and (equals or not word) and "." not in named:
            raise Failure(f"{shown(named) or 'a word of the command'} is empty; give a value, or leave it out")
        if named in _OUTPUTS and shown(value) != value:
            raise Failure(
                f"{named} {shown(value)} holds characters that control a terminal, or bytes that are not UTF-8; "
                "choose another name"
            )


def start(verbs: Mapping[str, Verb] | Mapping[str, Verb | Group], program: str, words: Sequence[str]) -> int:
    """Run the verb that the first word names with the rest of the words; returns the exit code.

    Failure for a word that names none, with the nearest that there is.
    """
    name, *rest = words
    if name not in verbs:
        raise Failure(f"unknown verb '{shown(name)}'; {_advice(name, verbs)}")
    verb, program = verbs[name], f"{program} {name}"
    if isinstance(verb, Verb):
        _refuse_odd(rest)
        return _run(verb, program, parse(verb.arguments, program, rest))
    if rest and rest[0] not in ("-h", "--help", "help"):
        return start(verb.verbs, program, rest)
    summary = f"{verb.summary[0].upper()}{verb.summary[1:]}."
    print(f"usage: {program} VERB ...\n\n{summary}\n\n{listed(verb.verbs)}\n\n  {program} VERB --help")
    raise SystemExit(0 if rest else 2)
