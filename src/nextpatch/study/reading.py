"""Reads a study file: its own keys over those that it extends, every key known, every name that it mentions there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nextpatch.config import from_dict, read_toml
from nextpatch.core.errors import ConfigError
from nextpatch.core.text import did_you_mean, shown
from nextpatch.measure.study_result import VAL_LOSS
from nextpatch.runs.given import laid_over, overlay, read_recipe
from nextpatch.runs.recipe import Recipe
from nextpatch.study.config import Claim, StudyConfig, Values, Variant

SHIPPED = Path(__file__).parents[1] / "studies"
TABLES = tuple(Recipe.__dataclass_fields__)
_OWN = ("base", *StudyConfig.__dataclass_fields__)
_OF_A_VARIANT = (*(name for name in Variant.__dataclass_fields__ if name not in ("name", "values")), *TABLES)
_DEPTH = 8  # of files that extend each other
_OTHER_LOSS = (
    "target",
    "objective",
    "mask_ratio",
    "attention",
    "patch_size",
    "img_size",
    "in_chans",
    "tokenizer",
)  # of the model


def study_path(name: str) -> Path:
    """The study file of that name: a path of a .toml file, a study's own folder, or a shipped one ("paper/table3a")."""
    path = Path(name)
    if path.is_dir() and (path / "study.toml").is_file():
        return path / "study.toml"
    files = [file for file in sorted(SHIPPED.rglob("*.toml")) if file.parent.name != "base"]  # only extended by others
    shipped = {file.relative_to(SHIPPED).with_suffix("").as_posix(): file for file in files}
    if path.suffix == ".toml" or path.is_file():
        return path
    if name in shipped:
        return shipped[name]
    names = [one for one in shipped if "/" not in one]
    known = f"; shipped: {', '.join(names)}; each is also there at the paper's size, as paper/NAME" if names else ""
    raise ConfigError(f"no study '{shown(name)}'{did_you_mean(name, shipped)}: give the path of a .toml file{known}")


def read_study(path: Path) -> StudyConfig:
    """The study in a file; ConfigError names the file, the key and the nearest known one."""
    return study_from_dict(_extended(path, ()), path)


def study_from_dict(values: Values, path: Path) -> StudyConfig:
    """The study in nested plain values, as a file at `path` would have them: its `base` is looked for from there."""
    where = shown(path)
    _refuse_unknown(values, _OWN, where, "")
    tables = _tables(values.get("recipe", {}), where, "recipe")
    given = {
        **{key: value for key, value in values.items() if key != "base"},
        "recipe": laid_over(_base(values.get("base", ""), path), tables),
        "variants": [_variant(name, one, where) for name, one in _table(values, "variants", where).items()],
        "claims": [_claim(one, number, where) for number, one in enumerate(values.get("claims", ()), 1)],
    }
    found = from_dict(StudyConfig, given, where)
    _check_names(found, where)
    return found


def _extended(path: Path, above: tuple[Path, ...]) -> Values:
    """The values of a file, over those of the file that it `extends`; to the notes there its own are added."""
    values = read_toml(path)
    other = values.pop("extends", None)
    if other is None:
        return values
    if not isinstance(other, str) or len(above) >= _DEPTH:
        raise ConfigError(f"{shown(path)}: extends names one other study file, and not one that comes back to this")
    below = _extended(path.parent / other, (*above, path))
    found = _deep(below, values)
    if isinstance(notes := below.get("notes"), list) and isinstance(values.get("notes"), list):
        found["notes"] = [*notes, *values["notes"]]
    return found


def _deep(below: Values, above: Values) -> Values:
    both = {k for k in below.keys() & above.keys() if isinstance(below[k], dict) and isinstance(above[k], dict)}
    return {**below, **above, **{key: _deep(below[key], above[key]) for key in both}}


def _base(name: Any, path: Path) -> Values:
    """The values of the recipe that a study begins with: a shipped one, or a file named from the study's folder."""
    if not isinstance(name, str):
        raise ConfigError(f"{shown(path)}: base is the name of a recipe; values of your own are [recipe.TABLE]")
    if not name:
        return {}
    beside = path.parent / name
    return read_recipe(str(beside) if beside.is_file() else name)


def _variant(name: str, given: Any, where: str) -> Values:
    place = f"variants.{name}"
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: '{place}' needs a table, got {type(given).__name__}")
    _refuse_unknown(given, _OF_A_VARIANT, where, f"{place}.")
    tables = _tables({key: value for key, value in given.items() if key in TABLES}, where, place)
    return {"name": name, **{key: value for key, value in given.items() if key not in TABLES}, "values": tables}


def _claim(given: Any, number: int, where: str) -> Values:
    place = f"claims[{number}]"
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: '{place}' needs a table, got {type(given).__name__}")
    _refuse_unknown(given, Claim.__dataclass_fields__, where, f"{place}.")
    return given


def _tables(given: Any, where: str, place: str) -> Values:
    """Values of a recipe, each key known."""
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: '{place}' needs tables of a recipe, got {type(given).__name__}")
    _refuse_unknown(given, TABLES, where, f"{place}.")
    for table, values in given.items():
        if not isinstance(values, dict):
            raise ConfigError(f"{where}: '{place}.{table}' needs a table, got {type(values).__name__}")
    return overlay({}, given)


def _table(values: Values, key: str, where: str) -> Values:
    found = values.get(key, {})
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: '{key}' needs tables: [{key}.NAME]")
    return found


def _refuse_unknown(given: Values, known: Any, where: str, place: str) -> None:
    for key in given:
        if key not in known:
            near = did_you_mean(key, known)
            raise ConfigError(f"{where}: unknown key '{shown(place + key)}'{near}; known here: {', '.join(known)}")


def _check_names(study: StudyConfig, where: str) -> None:
    """ConfigError for a claim or a variant that mentions what is not there."""
    try:
        for variant in study.variants:
            _check_variant(study, variant)
        for claim in study.claims:
            _check_claim(study, claim)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _check_variant(study: StudyConfig, variant: Variant) -> None:
    if not variant.name or set(variant.name) & set("/\\\0") or variant.name.startswith("."):
        raise ConfigError(f"a variant cannot be called '{shown(variant.name)}': its runs are folders of that name")
    if variant.tokenizer and variant.tokenizer not in study.tokenizers:
        near = did_you_mean(variant.tokenizer, study.tokenizers)
        raise ConfigError(f"variants.{variant.name}: no tokenizer '{shown(variant.tokenizer)}'{near}")
    for metric in variant.paper:
        if metric not in (known := study.metrics_of(variant)):
            near = did_you_mean(metric, known)
            raise ConfigError(f"variants.{variant.name}.paper: '{shown(metric)}' is not measured{near}")


def _check_claim(study: StudyConfig, claim: Claim) -> None:
    variants = [study.variant(name) for name in claim.variants]
    for metric in claim.by:
        sides = [metric if claim.than_by == "" or v.name != claim.than else claim.than_by for v in variants]
        for variant, side in zip(variants, sides, strict=True):
            if side not in (known := study.metrics_of(variant)):
                near = did_you_mean(side, known)
                raise ConfigError(
                    f"a claim compares '{variant.name}' by '{shown(side)}', which is not measured of it{near}; "
                    f"measured are {', '.join(known)}"
                )
        if VAL_LOSS in sides and (differing := _other_losses(study, variants)):
            raise ConfigError(
                f"a claim compares {' and '.join(v.name for v in variants)} by val_loss, but they differ in "
                f"{', '.join(differing)}: their losses are not of the same thing; compare them by a probe"
            )


def _other_losses(study: StudyConfig, variants: list[Variant]) -> list[str]:
    """Values in which variants differ that make their losses incomparable."""
    recipes = [laid_over(study.recipe, variant.values) for variant in variants]
    models = [
        {**recipe.get("model", {}), "tokenizer": v.tokenizer} for recipe, v in zip(recipes, variants, strict=True)
    ]
    data = [recipe.get("data", {}) for recipe in recipes]
    other_images = len({repr(one.get("val") or one.get("train")) for one in data}) > 1
    differing = [name for name in _OTHER_LOSS if len({repr(model.get(name)) for model in models}) > 1]
    return [*differing, *(["the held-out images"] if other_images else [])]
