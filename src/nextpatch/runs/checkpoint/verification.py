"""Whether a checkpoint folder holds what was written into it."""

from __future__ import annotations

import json
from pathlib import Path

from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.runs.checkpoint.files import MANIFEST, STATE, fingerprint, read_state, step_of


def verify(path: Path, ranks: Ranks = ALONE) -> list[str]:
    """What is wrong with a checkpoint folder, in words; empty when every file is as its manifest says.

    The ranks share the reading, and all get the whole answer.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        expected = {name: (entry["size"], entry["sha256"]) for name, entry in manifest.items()}
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        unreadable = ""
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        unreadable, expected, state = f"manifest or state is unreadable ({error})", {}, {}
    present = {file.name for file in path.glob("*")} - {MANIFEST}
    problems = [] if isinstance(state, dict) else [f"{STATE} is not a table"]
    problems += [f"{name} is missing" for name in sorted(expected.keys() - present)]
    problems += [f"{name} is not in the manifest" for name in sorted(present - expected.keys())]
    own = sorted(present & expected.keys())[ranks.rank :: ranks.size]
    problems += [text for name in own if (text := _damage(path / name, *expected[name]))]
    found = ranks.gather([unreadable] if unreadable else problems)
    return list(dict.fromkeys(text for said in found for text in said))


def _damage(path: Path, size: int, sha256: str) -> str:
    try:
        found = fingerprint(path)
    except OSError as error:
        return f"{path.name} is unreadable ({error.strerror})"
    return "" if found == {"size": size, "sha256": sha256} else f"{path.name} is not what was written"


def problems_of(path: Path, ranks: Ranks = ALONE) -> list[str]:
    """What `verify` finds; and of a whole folder copied over another, which verifies by its own manifest, the step."""
    if problems := verify(path, ranks):
        return problems
    step = read_state(path).get("step", step_of(path))
    return [] if step == step_of(path) else [f"it holds step {step}"]
