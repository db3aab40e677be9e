"""The values of a run as given: a recipe file and the flags that override it, merged before they are checked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nextpatch.config import ConfigError, read_toml
from nextpatch.model.config import Shape

Values = dict[str, Any]  # nested plain values: {"model": {"size": "tiny"}, ...}
SHIPPED = Path(__file__).parents[1] / "recipes"


def recipe_path(name: str) -> Path:
    """The recipe of that name: the path of a .toml file, a run, or a shipped one such as "demo"."""
    path = Path(name)
    if path.is_dir():
        if not (path / "recipe.toml").is_file():
            raise ConfigError(f"{path} is a folder without recipe.toml, so no run; give a run or a .toml file")
        return path / "recipe.toml"
    shipped = {file.stem: file for file in sorted(SHIPPED.glob("*.toml"))}
    if path.suffix == ".toml" and not path.exists() and path.stem in shipped:
        raise ConfigError(f"{path} does not exist; the recipe of the package is given by its name alone: {path.stem}")
    if path.exists() or path.suffix == ".toml":
        return path
    if name in shipped:
        return shipped[name]
    near = difflib.get_close_matches(name, shipped, n=1, cutoff=0.4)
    advice = f"did you mean '{near[0]}'?" if near else "give the path of a .toml file, or a run."
    raise ConfigError(f"no recipe '{name}'; {advice} Shipped: {', '.join(shipped)}")


def read_recipe(name: str) -> Values:
    """The values of a recipe, by its name (see `recipe_path`).

    A tokenizer that it names is looked for beside it first: a run has a copy of its own.
    """
    path = recipe_path(name)
    values = read_toml(path)
    model = values.get("model")
    tokenizer = model.get("tokenizer") if isinstance(model, dict) else None
    if isinstance(tokenizer, str) and tokenizer and (path.parent / tokenizer).is_file():
        values["model"] = {**values["model"], "tokenizer": str(path.parent / tokenizer)}
    return values


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> Values:
    """The tables of `above` laid over those of `below`, value by value."""
    both = {t for t in below.keys() & above.keys() if isinstance(below[t], dict) and isinstance(above[t], dict)}
    return {**below, **above, **{table: {**below[table], **above[table]} for table in both}}


def override(recipe: Mapping[str, Any], flags: Mapping[str, Any]) -> Values:
    """Flags over a recipe. A model size among the flags replaces the recipe's whole shape.

    A saved recipe has every width written out; they must not outlive the size that they came from.
    """
    merged, model = overlay(recipe, flags), flags.get("model", {})
    if "size" in model and isinstance(merged["model"], dict):
        outlived = Shape.__dataclass_fields__.keys() - model.keys()
        merged["model"] = {name: value for name, value in merged["model"].items() if name not in outlived}
    return merged


def laid_over(below: Values, above: Values) -> Values:
    """Values over those of a recipe. Of a length said in both ways, the way of `above`.

    A recipe that says both is of a run whose steps were fixed: they are the ones to repeat.
    """
    values = override(below, above)
    train = values.get("train", {})
    if isinstance(train, dict) and train.get("steps") and train.get("minutes"):
        other = "steps" if "minutes" in above.get("train", {}) else "minutes"
        values["train"] = {name: value for name, value in train.items() if name != other}
    return values
