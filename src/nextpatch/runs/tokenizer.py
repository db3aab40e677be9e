"""The tokenizer of a run is its own copy: the run can be moved, and the file that it was given may vanish."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from nextpatch.config import ConfigError, to_dict
from nextpatch.core.text import shown
from nextpatch.runs.recipe import Recipe
from nextpatch.tokenizer.artifact import read_artifact, write_artifact, written_with
from nextpatch.tokenizer.of_model import open_for_model
from nextpatch.tokenizer.tokenizer import FILE, open_tokenizer

TOKENIZER_FILES = (FILE, written_with(Path(FILE)).name)


def with_own_tokenizer(recipe: Recipe, run: Path) -> Recipe:
    """The recipe with the copy in the folder of the run, where codes are the target."""
    return _naming(recipe, str(run / FILE))


def copy_tokenizer(recipe: Recipe, run: Path) -> Recipe:
    """`with_own_tokenizer`, once the copy is on the disk; TokenizerError where the given one cannot be used."""
    own = with_own_tokenizer(recipe, run)
    if own.model.tokenizer:
        open_for_model(recipe.model)
        write_artifact(run / FILE, read_artifact(Path(recipe.model.tokenizer)))
    return own


def portable(recipe: Recipe) -> dict[str, Any]:
    """The values of a run's recipe.toml: its tokenizer is the file beside it."""
    return to_dict(_naming(recipe, FILE))


def check_tokenizer(given: Recipe, run: Path) -> None:
    """TokenizerError where the run's copy is missing, damaged or another one; ConfigError where `given`, by which the
    run shall go on, names another one."""
    if given.model.target != "tokens":
        return
    open_for_model(with_own_tokenizer(given, run).model)
    name = given.model.tokenizer
    if name not in ("", FILE, str(run / FILE)) and open_tokenizer(Path(name)).digest != given.model.tokenizer_sha256:
        raise ConfigError(f"{shown(run)} was begun with another tokenizer than {shown(name)}; resume without it")


def _naming(recipe: Recipe, tokenizer: str) -> Recipe:
    if recipe.model.target != "tokens":
        return recipe
    return replace(recipe, model=replace(recipe.model, tokenizer=tokenizer))
