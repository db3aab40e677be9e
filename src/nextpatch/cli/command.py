"""The command `nextpatch`: finds the verb, reads its flags, and says plainly what the user can mend."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import tyro

from nextpatch.cli import check, pretrain, probe, report
from nextpatch.cli.failure import Failure


class Verb(NamedTuple):
    """What it is for, the dataclass of its arguments (built when needed), and what it does."""

    summary: str
    arguments: Callable[[], Any]
    run: Callable[[Any], int]


VERBS = {
    "pretrain": Verb("learn from images by predicting the next patch", pretrain.arguments, pretrain.run),
    "probe": Verb("measure a run's frozen features with labels", lambda: probe.Probe, probe.run),
    "report": Verb("write the page about a run", lambda: report.Report, report.run),
    "check": Verb("prove that a model learns what it should", lambda: check.Check, check.run),
}

_HELP = """\
usage: nextpatch [--debug] VERB ...

Next-patch prediction for images: pre-train, measure and look.

{verbs}

  nextpatch VERB --help   what a verb takes
  --version               print the version
  --debug                 show where an error came from
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code: 0, 1 a check that failed, 2 an error, 128 + a signal."""
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # torch is not loaded yet; its idle threads else burn a core
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_HELP.format(verbs="\n".join(f"  {name:<22}  {verb.summary}" for name, verb in VERBS.items())), end="")
        return 0 if words else 2
    if words[0] == "--version":
        print(f"nextpatch {version('nextpatch')}")
        return 0
    try:
        return _run(words[0], words[1:])
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (Failure, ValueError, OSError) as error:
        if debug:
            raise
        print(f"nextpatch: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if debug:
            raise
        print("nextpatch: interrupted", file=sys.stderr)
        return 130


def _run(name: str, words: list[str]) -> int:
    if name not in VERBS:
        near = difflib.get_close_matches(name, VERBS, n=1, cutoff=0.4)
        advice = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(VERBS)}"
        raise Failure(f"unknown verb '{name}'; {advice}")
    verb = VERBS[name]
    return verb.run(tyro.cli(verb.arguments(), prog=f"nextpatch {name}", args=words))
