"""Checkpoints that survive: written aside, synced, verified and renamed; read back only when every digest fits.

A checkpoint is a folder `step_00000123` of safetensors files, state.json and manifest.json (size and SHA-256 of each of
the others). It appears under its name in one rename, after everything in it is on the disk, so that a crash at any
moment leaves either the old set of checkpoints or the new one. No pickle, anywhere.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

log = logging.getLogger(__name__)
_NAME = re.compile(r"step_(\d{8,})")
_UNFINISHED = "unfinished_"
_REMOVED = "removed_"
_REPLACED = "replaced_"


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names it and the remedy."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: its folder, its step (optimizer steps done) and the plain values beside the tensors."""

    path: Path
    step: int
    state: dict[str, Any]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors saved under `name`, on the CPU."""
        return load_file(self.path / f"{name}.safetensors")


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> Path:
    """Write a checkpoint of `step` into `folder` and return its path; on any error nothing is published.

    `tensors` maps a file's name to named tensors; `state` must be plain JSON values. A checkpoint of the same step is
    replaced. Raises OSError with the system's reason (a full disk, say) after removing what was half written; only when
    the very last sync fails it is there all the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside, final = folder / f"{_UNFINISHED}{step:08d}", folder / f"step_{step:08d}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        for name, group in tensors.items():
            save_tensors(aside / f"{name}.safetensors", group)
        _write_json(aside / "state.json", dict(state))
        _write_json(aside / "manifest.json", {file.name: _fingerprint(file) for file in sorted(aside.iterdir())})
        for file in aside.iterdir():
            sync(file)
        sync(aside)
        if problems := verify(aside):
            raise OSError(f"{final.name} did not read back as written: {'; '.join(problems)}")
        if final.exists():
            _move_away(final, _REPLACED)
        aside.rename(final)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        _restore(folder)
        raise
    shutil.rmtree(_moved(final, _REPLACED), ignore_errors=True)
    sync(folder)
    return final


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """A safetensors file, readable by whoever may read its folder (the library alone makes it private)."""
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path, metadata)
    except SafetensorError as error:  # what a full disk looks like from there
        raise OSError(f"{path} cannot be written: {error}") from error
    path.chmod(path.parent.stat().st_mode & 0o666)


def verify(path: Path) -> list[str]:
    """What is wrong with a checkpoint folder, in words; empty when every file is as its manifest says."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        expected = {name: (entry["size"], entry["sha256"]) for name, entry in manifest.items()}
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        return [f"manifest or state is unreadable ({error})"]
    problems = [] if isinstance(state, dict) else ["state.json is not a table"]
    present = {file.name for file in path.glob("*")} - {"manifest.json"}
    problems += [f"{name} is missing" for name in sorted(expected.keys() - present)]
    problems += [f"{name} is not in the manifest" for name in sorted(present - expected.keys())]
    for name in sorted(present & expected.keys()):
        try:
            found = _fingerprint(path / name)
        except OSError as error:
            problems.append(f"{name} is unreadable ({error.strerror})")
            continue
        if (found["size"], found["sha256"]) != expected[name]:
            problems.append(f"{name} is not what was written")
    return problems


def newest_checkpoint(folder: Path, mend: bool = False) -> Checkpoint | None:
    """The newest checkpoint that verifies; None when there is none. Damaged newer ones are named in the log.

    With `mend`, for the one process that writes here: a damaged one is renamed to `step_x.damaged`, never deleted, and
    what a killed save or removal left behind is removed. Without it nothing is touched, for the run may be alive.
    """
    if mend:
        _restore(folder)
        for path in [path for prefix in (_UNFINISHED, _REMOVED, _REPLACED) for path in folder.glob(f"{prefix}*")]:
            shutil.rmtree(path, ignore_errors=True)
    for path in reversed(_published(folder)):
        problems = [*verify(path), *_wrong_step(path)]
        if not problems:
            return Checkpoint(path, _step_of(path), _read_state(path))
        if not path.exists():  # its run has just removed it, because there are newer ones
            return newest_checkpoint(folder, mend)
        what = f"set aside as {_set_aside(path).name}" if mend else "an older one is used"
        log.warning("checkpoint %s is damaged (%s); %s", path, "; ".join(problems), what)
    return None


def checkpoint_at(folder: Path, step: int) -> Checkpoint:
    """The checkpoint of one step; CheckpointError when it is not there or is damaged."""
    path = folder / f"step_{step:08d}"
    if not path.is_dir():
        there = ", ".join(str(_step_of(p)) for p in _published(folder)) or "none"
        raise CheckpointError(f"no checkpoint of step {step} in {folder}; there are: {there}")
    if problems := [*verify(path), *_wrong_step(path)]:
        raise CheckpointError(f"checkpoint {path} is damaged ({'; '.join(problems)}); use another step")
    return Checkpoint(path, step, _read_state(path))


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints; damaged ones that were set aside stay."""
    assert keep >= 1
    for path in _published(folder)[:-keep]:
        _move_away(path, _REMOVED)
        shutil.rmtree(_moved(path, _REMOVED), ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until a file's or folder's content is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _published(folder: Path) -> list[Path]:
    found = [p for p in folder.glob("step_*") if _NAME.fullmatch(p.name) and p.is_dir()]
    return sorted(found, key=_step_of)


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step_"))


def _read_state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    return state


def _wrong_step(path: Path) -> list[str]:
    """A whole folder copied over another verifies by its own manifest; its step does not."""
    if verify(path):
        return []
    step = _read_state(path).get("step", _step_of(path))
    return [] if step == _step_of(path) else [f"it holds step {step}"]


def _set_aside(path: Path) -> Path:
    aside, number = path.with_name(f"{path.name}.damaged"), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{number}")
    return path.rename(aside)


def _moved(path: Path, prefix: str) -> Path:
    return path.with_name(prefix + path.name)


def _move_away(path: Path, prefix: str) -> None:
    """Rename before removing: a kill in the middle must not leave a published checkpoint with half of its files."""
    shutil.rmtree(_moved(path, prefix), ignore_errors=True)
    path.rename(_moved(path, prefix))


def _restore(folder: Path) -> None:
    """Bring back what was moved away for a checkpoint of the same step that never came."""
    for path in folder.glob(f"{_REPLACED}*"):
        final = path.with_name(path.name.removeprefix(_REPLACED))
        if not final.exists() and not verify(path):
            path.rename(final)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1, allow_nan=False), encoding="utf-8")


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
