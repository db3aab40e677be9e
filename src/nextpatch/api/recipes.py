"""The recipe of a run from Python values: by their own names, in tables, or on top of another recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeAlias, get_type_hints

from rich.console import Console

from nextpatch.api.given_values import plain
from nextpatch.config import ConfigError, read_toml, to_dict
from nextpatch.core.progress import phase
from nextpatch.core.text import did_you_mean
from nextpatch.dist.ranks import Ranks
from nextpatch.runs.given import Values, overlay, read_recipe
from nextpatch.runs.recipe import Recipe, recipe_from_dict
from nextpatch.runs.run import RunDir
from nextpatch.tasks.pretrain.places import placed
from nextpatch.tasks.pretrain.plan import resolve

TABLES: dict[str, type] = get_type_hints(Recipe)
RecipeLike: TypeAlias = Recipe | Mapping[str, Any] | str | os.PathLike[str]


def in_tables(values: Mapping[str, Any], others: Sequence[str] = ()) -> Values:
    """{"lr": 1e-3, "guard": {"window": 9}} as the tables of a recipe; ConfigError for a name that none has, or two.

    A table may be a mapping or its own dataclass. `others`: names that stand beside these, which may be meant.
    """
    found: Values = {}
    for name, value in values.items():
        if name in TABLES:
            table = {name: _table(name, value)}
        else:
            owners = [table for table, kind in TABLES.items() if name in (item.name for item in fields(kind))]
            if len(owners) != 1:
                raise ConfigError(_unknown(name, owners, others))
            table = {owners[0]: {name: value}}
        found = overlay(found, _plain(table))
    return found


def _table(name: str, value: Any) -> Values:
    if is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if not isinstance(value, Mapping):
        raise ConfigError(f"'{name}' is a table of values: give {name}={{NAME: VALUE}}, got {type(value).__name__}")
    return dict(value)


def _unknown(name: str, owners: list[str], others: Sequence[str]) -> str:
    if owners:
        return f"'{name}' is a value of {' and of '.join(owners)}; say which: {owners[-1]}={{'{name}': ...}}"
    known = [item.name for kind in TABLES.values() for item in fields(kind)]
    return f"a recipe has no value '{name}'{did_you_mean(name, [*known, *TABLES, *others])}"


def _plain(value: Any) -> Any:
    """As in TOML: tuples are lists, paths are texts, numbers are Python's own."""
    value = plain(value)
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def values_below(recipe: RecipeLike | None) -> Values:
    """The values of a recipe: as an object, as tables, by the name of a shipped one, of a run or of a file."""
    if recipe is None:
        return {}
    if isinstance(recipe, Recipe):
        return to_dict(recipe)
    if isinstance(recipe, Mapping):
        return in_tables(recipe)
    name = os.fspath(recipe) if isinstance(recipe, os.PathLike) else recipe
    if not isinstance(name, str):
        raise ConfigError(f"{type(recipe).__name__} is no recipe; give a Recipe, its values, a name, a file or a run")
    return read_recipe(name)


def settled(values: Values, out: Path, ranks: Ranks, console: Console) -> Recipe:
    """The recipe with what was left open chosen by rank 0, and said by it."""
    found = None
    with ranks.raise_on_all():
        if ranks.is_main:
            RunDir.check_new(out)
            with phase("looking at the images"):
                plan = resolve(values, ranks)
            console.print("\n".join(plan.choices), markup=False, highlight=False, soft_wrap=True)
            found = placed(to_dict(plan.recipe))
    return recipe_from_dict(ranks.broadcast(found))


def gone_on_with(stated: Values, out: Path) -> Recipe | None:
    """The recipe of the run at `out` with what is stated over it, for `pretrain` to compare; None of nothing stated."""
    saved = out / "recipe.toml"
    return recipe_from_dict(overlay(read_toml(saved), placed(stated))) if stated and saved.exists() else None
