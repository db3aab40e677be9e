"""The files of a checkpoint: written so that they last, and told apart by their digests."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nextpatch.core.errors import UserError

NAME = re.compile(r"step_(\d{8,})")
UNFINISHED, REMOVED, REPLACED = "unfinished_", "removed_", "replaced_"  # beginnings of names that are no checkpoints
MANIFEST, STATE = "manifest.json", "state.json"


class CheckpointError(UserError):
    """A checkpoint cannot be used; the message names it and the remedy."""


def write_plain(path: Path, values: Mapping[str, Any]) -> None:
    """Values as a JSON file without a digest of its own, which the manifest has; NaN in it is a ValueError."""
    path.write_text(json.dumps(values, indent=1, allow_nan=False), encoding="utf-8")


def read_state(path: Path) -> dict[str, Any]:
    """The plain values of a checkpoint folder that was verified."""
    state: dict[str, Any] = json.loads((path / STATE).read_text(encoding="utf-8"))
    return state


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, as the manifest has them."""
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def published(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first, verified or not."""
    found = [p for p in folder.glob("step_*") if NAME.fullmatch(p.name) and p.is_dir()]
    return sorted(found, key=step_of)


def step_of(path: Path) -> int:
    """The step in a checkpoint's name."""
    return int(path.name.removeprefix("step_"))
