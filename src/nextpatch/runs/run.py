"""The run directory: what a run leaves behind, where, and how to get model and recipe back from it."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from nextpatch.config import dumps_toml, to_dict
from nextpatch.core.errors import FileError, UserError
from nextpatch.core.files import write_json, write_text
from nextpatch.core.output import check_folder
from nextpatch.core.reading import read_json
from nextpatch.core.text import did_you_mean
from nextpatch.core.writer import is_new
from nextpatch.dist.materialize import materialize
from nextpatch.model.aim import AIM
from nextpatch.runs.checkpoint import Checkpoint, checkpoint_at, newest_checkpoint
from nextpatch.runs.checkpoint.files import CheckpointError
from nextpatch.runs.logs import entries_of
from nextpatch.runs.recipe import Recipe, load_run_recipe, recipe_digest
from nextpatch.runs.tokenizer import TOKENIZER_FILES, copy_tokenizer, portable, with_own_tokenizer

log = logging.getLogger(__name__)
EMA = "ema"  # the group of averaged weights in a checkpoint
_PACKAGES = ("nextpatch", "torch", "torchvision", "numpy", "pillow", "safetensors", "pyarrow")


class RunError(UserError):
    """A run directory cannot be made or used; the message says what to do."""


@dataclass(frozen=True)
class RunDir:
    """recipe.toml, env.json, metrics.jsonl, checkpoints/, log.txt, tensorboard/, probe and report files."""

    path: Path
    recipe: Recipe

    @classmethod
    def create(cls, path: Path, recipe: Recipe) -> RunDir:
        """A new run directory; an existing one with anything in it is never written over."""
        cls.check_new(path)
        path.mkdir(parents=True, exist_ok=True)
        own = copy_tokenizer(recipe, path)
        write_text(path / "recipe.toml", dumps_toml(portable(own)))
        (path / "checkpoints").mkdir(exist_ok=True)
        return cls(path, own)

    def refined(self, recipe: Recipe) -> RunDir:
        """The same run by a recipe in which more is settled, which is on the disk when this returns."""
        write_text(self.path / "recipe.toml", dumps_toml(portable(recipe)))
        return RunDir(self.path, with_own_tokenizer(recipe, self.path))

    def withdraw(self) -> None:
        """Take away a run that was refused before its first step; nothing is in it but what it was given.

        A tokenizer stays, which may have been there before: `check_new` passes over it.
        """
        for name in ("recipe.toml", "env.json", "log.txt"):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty
            self.checkpoints.rmdir()

    @classmethod
    def check_new(cls, path: Path) -> None:
        """RunError where no new run can begin, UserError where nothing can be written; asked before the work begins."""
        if not is_new(path, beside=TOKENIZER_FILES):
            advice = "choose another --out, or add --resume to continue the run that is in it"
            raise RunError(f"{path} exists and is not empty; {advice}")
        check_folder(path)

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """An existing run directory; RunError when `path` is none."""
        if not cls.exists(path):
            what = "has no recipe.toml" if path.is_dir() else "does not exist"
            beside = path.parent.iterdir() if path.parent.is_dir() else ()
            near = did_you_mean(path.name, [other.name for other in beside if cls.exists(other)])
            raise RunError(f"{path}{near} is not a run ({what}); give the --out of a pretrain command")
        return cls(path, with_own_tokenizer(load_run_recipe(path / "recipe.toml"), path))

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Whether a run was begun at `path`."""
        return (path / "recipe.toml").is_file()

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics_path(self) -> Path:
        """One JSON object a line: "train" and "val" entries by step."""
        return self.path / "metrics.jsonl"

    def checkpoint(self, step: int | None = None) -> Checkpoint:
        """The newest checkpoint that verifies, or the one of `step`.

        RunError when there is none, or when the run's recipe is not that of the checkpoint: its figures would be of
        another model or other images.
        """
        found = newest_checkpoint(self.checkpoints) if step is None else checkpoint_at(self.checkpoints, step)
        if found is None:
            raise RunError(
                f"{self.path} has no checkpoint yet; continue it with: nextpatch pretrain --out {self.path} --resume"
            )
        if found.state.get("recipe_sha256") not in (None, *self.digests()):
            raise RunError(
                f"{self.path / 'recipe.toml'} is not the recipe of {found.path.name}: it was changed or is damaged; "
                "restore it as it was"
            )
        return found

    def digests(self) -> tuple[str, str]:
        """What a checkpoint of this run holds as the digest of recipe.toml: now, and when places still were part of it.

        A session may know other places than are written there.
        """
        written = load_run_recipe(self.path / "recipe.toml")
        return recipe_digest(written), recipe_digest(written, places=True)

    def keep_places(self) -> None:
        """Write down where the images lie now: they were found there to be the same."""
        known, data = load_run_recipe(self.path / "recipe.toml"), self.recipe.data
        moved = replace(known, data=replace(known.data, train=data.train, val=data.val))
        if moved != known:
            write_text(self.path / "recipe.toml", dumps_toml(to_dict(moved)))

    def write_environment(self, ranks: int = 1) -> None:
        """Add this session to env.json: what made these figures (versions, hardware, git revision, command) and when;
        never a user's variables."""
        facts = {
            "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {name: version(name) for name in _PACKAGES},
            "git_revision": _git_revision(),
            "ranks": ranks,
            "cpu_count": os.cpu_count(),
            "cpu": torch.cpu.get_capabilities().get("cpu_name", platform.machine()),
            "torch_threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        }
        write_json(self.path / "env.json", {"sessions": [*sessions_of(self.path), facts]})

    def read_metrics(self) -> list[dict[str, Any]]:
        """Every whole entry of metrics.jsonl, by step; a last line torn by a kill is left out."""
        return entries_of(self.metrics_path)


def weights_of(checkpoint: Checkpoint, raw: bool = False) -> dict[str, Tensor]:
    """A checkpoint's model by the names of its tensors: averaged, where it has averages and they are not passed over
    by `raw`."""
    averages = {} if raw or not checkpoint.names(EMA) else checkpoint.tensors(EMA)
    return checkpoint.tensors("model") | averages


@dataclass(frozen=True)
class LoadedRun:
    """A run's model with the weights of one checkpoint."""

    model: AIM
    recipe: Recipe
    step: int


def load_run(path: Path, device: torch.device | str = "cpu", step: int | None = None, raw: bool = False) -> LoadedRun:
    """The run's model at its newest checkpoint that verifies, or at the one of `step`; in evaluation mode.

    With averaged weights, where the run makes them; `raw`: with those of the last step all the same.
    Raises RunError when there is no run, no checkpoint, or one of another model; CheckpointError when there is none of
    `step`.
    """
    run = RunDir.open(path)
    checkpoint = run.checkpoint(step)
    model = AIM(run.recipe.model)
    try:
        state = model.state_dict()
        checkpoint.load_into("model", state)
        if not raw and (averages := checkpoint.names(EMA)):
            checkpoint.load_into(EMA, {name: state[name] for name in averages if name in state})
    except (CheckpointError, OSError, SafetensorError) as error:
        raise RunError(
            f"{checkpoint.path} does not hold the model of {path / 'recipe.toml'}; was it edited? ({error})"
        ) from error
    return LoadedRun(model.to(device).eval(), run.recipe, checkpoint.step)


def untrained_model(recipe: Recipe, device: torch.device | str = "cpu") -> AIM:
    """The recipe's model at random initialisation, with another seed than the run's: what training must beat."""
    return materialize(recipe.model, recipe.train.seed + 1, device=device).eval()


def sessions_of(run: Path) -> list[dict[str, Any]]:
    """What env.json says of every session of a run, the oldest first; [] without it, or where it is damaged.

    It held the facts of the newest session alone once, which count as one.
    """
    try:
        values = read_json(run / "env.json", "the sessions of a run", "remove it; the run does not need it")
    except FileError as error:
        if (run / "env.json").exists():
            log.warning("%s", error)
        return []
    return sessions_in(values)


def sessions_in(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The sessions in the values of an env.json."""
    sessions = values.get("sessions", [values])
    return [one for one in sessions if isinstance(one, dict)] if isinstance(sessions, list) else []


def _git_revision() -> str | None:
    """The revision of the code that runs, when it runs from a checkout; "+" marks uncommitted changes."""
    # without its optional lock, which a kill would leave in the user's repository
    git = ["git", "--no-optional-locks", "-C", str(Path(__file__).parent)]
    try:
        revision = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return revision.stdout.strip() + ("+" if status.stdout.strip() else "")
