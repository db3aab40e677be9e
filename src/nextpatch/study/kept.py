"""What a study has written down: the study as it was begun, which may only grow, and what was settled for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nextpatch.config import ConfigError, dumps_toml, to_dict
from nextpatch.core.files import digest_of_json, write_json, write_text
from nextpatch.core.reading import read_json
from nextpatch.core.text import shown
from nextpatch.runs.recipe import Recipe, recipe_from_dict
from nextpatch.study.config import Claim, StudyConfig, Values, Variant
from nextpatch.study.layout import Layout
from nextpatch.study.reading import TABLES, read_study

_GROWING = ("variants", "tokenizers")
_REMEDY = "begin again with another --out"


@dataclass(frozen=True)
class Settled:
    """What was fixed when a study began, whatever machine goes on with it: threads of a run, recipes by the name of
    the variant, folders by the digest of the run; the recipe that tokenizers are fitted by; and where the runs lie, ""
    for inside of the study's folder."""

    threads: int
    runs: str = ""
    recipes: dict[str, Recipe] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    base: Recipe | None = None


def study_digest(study: StudyConfig) -> str:
    """SHA-256 of what decides a study's figures: no title, no text, no figure of the paper."""
    return digest_of_json(_binding(study))


def check_same(layout: Layout, study: StudyConfig) -> None:
    """ConfigError, naming what differs, where another study was begun.

    Variants, seeds and claims may be added, and texts and the paper's figures be changed. Nothing else may, and nothing
    be taken away: figures of different studies would stand in one table.
    """
    if layout.study.exists():
        before = read_study(layout.study)
        if changed := changes(before, study):
            raise ConfigError(
                f"{shown(layout.out)} is of a study with other values: {'; '.join(changed)}. Variants, seeds and "
                "claims can be added; for anything else choose another --out"
            )


def write_study(layout: Layout, study: StudyConfig) -> None:
    """Write the study down, as a file that is read again."""
    if not layout.study.exists() or read_study(layout.study) != study:
        write_text(layout.study, dumps_toml(as_file(study)))


def changes(before: StudyConfig, now: StudyConfig) -> list[str]:
    """What was changed or taken away, in words."""
    then, given = _binding(before), _binding(now)
    found = [
        f"{_dotted(place)} is {_shown(_at(given, place))}, was {_shown(_at(then, place))}"
        for place in dict.fromkeys([*_places(then), *_places(_known(given, then))])
        if _at(then, place) != _at(given, place)
    ]
    seeds = [str(seed) for seed in before.seeds if seed not in now.seeds]
    claims = [said(claim) for claim in before.claims if _compared(claim) not in map(_compared, now.claims)]
    return [
        *found,
        *([f"seeds {', '.join(seeds)} are gone"] if seeds else []),
        *([f"the claim '{claim}' is gone" for claim in claims]),
    ]


def said(claim: Claim) -> str:
    """The claim in words."""
    words = f"{claim.better} is better than {claim.than}" if claim.better else " < ".join(claim.trend)
    return claim.says or words


def as_file(study: StudyConfig) -> Values:
    """The study as a file has it, its base written out: reading it gives the same study."""
    values = to_dict(study)
    values["variants"] = {variant.name: _variant_as_file(variant) for variant in study.variants}
    values["claims"] = [_without_empty(to_dict(claim)) for claim in study.claims]
    return _without_empty(values)


def read_settled(layout: Layout) -> Settled | None:
    """What was settled when the study began; None when it has not."""
    if not layout.plan.exists():
        return None
    values = read_json(layout.plan, "the plan of a study", _REMEDY, ConfigError)
    try:
        recipes = {name: recipe_from_dict(one, shown(layout.plan)) for name, one in values["recipes"].items()}
        base = recipe_from_dict(values["base"], shown(layout.plan)) if values["base"] else None
        return Settled(int(values["threads"]), str(values["runs"]), recipes, dict(values["folders"]), base)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"{shown(layout.plan)} is not the plan of a study ({error}); {_REMEDY}") from None


def write_settled(layout: Layout, settled: Settled) -> None:
    """Write down what is settled, before anything is done by it."""
    values = {
        "threads": settled.threads, "runs": settled.runs, "folders": settled.folders,
        "recipes": {name: to_dict(recipe) for name, recipe in settled.recipes.items()},
        "base": to_dict(settled.base) if settled.base else None,
    }  # fmt: skip
    write_json(layout.plan, values)


def read_failures(layout: Layout) -> dict[str, str]:
    """Why runs failed, by their folders."""
    return (
        read_json(layout.failures, "a list of failures", "remove it", ConfigError) if layout.failures.exists() else {}
    )


def add_times(layout: Layout, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write down how long commands took."""
    with layout.times.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _variant_as_file(variant: Variant) -> Values:
    values = _without_empty(asdict(variant))
    tables = values.pop("values", {})
    del values["name"]
    return {**values, **{table: tables[table] for table in TABLES if table in tables}}


def _without_empty(values: Mapping[str, Any]) -> Values:
    return {key: value for key, value in values.items() if value not in ("", (), [], {})}


def _binding(study: StudyConfig) -> Values:
    """What decides the figures of a study, but for seeds and claims, which may be added."""
    variants = {
        variant.name: {"values": variant.values, "tokenizer": variant.tokenizer, **_measured(study, variant)}
        for variant in study.variants
    }
    return {"recipe": study.recipe, "tokenizers": study.tokenizers, "checkpoints": list(study.checkpoints),
            "variants": variants}  # fmt: skip


def _measured(study: StudyConfig, variant: Variant) -> Values:
    return {"probe": study.probe_of(variant), "finetune": study.finetune_of(variant)}


def _known(given: Values, then: Values) -> Values:
    """The values without the variants and tokenizers that are new."""
    kept = {key: {name: one for name, one in given[key].items() if name in then[key]} for key in _GROWING}
    return {**given, **kept}


def _places(values: Values, above: tuple[str, ...] = ()) -> list[str]:
    """The dotted names of all values that are no tables."""
    found = []
    for key, value in values.items():
        place = (*above, key)
        found += _places(value, place) if isinstance(value, dict) and value else ["\0".join(place)]
    return found


def _at(values: Any, place: str) -> Any:
    for key in place.split("\0"):
        values = values.get(key) if isinstance(values, dict) else None
    return list(values) if isinstance(values, tuple) else values


def _dotted(place: str) -> str:
    return shown(place.replace("\0", "."))


def _shown(value: Any) -> str:
    return "absent" if value is None else shown(value)


def _compared(claim: Claim) -> tuple[Any, ...]:
    return claim.better, claim.than, claim.trend, claim.by, claim.than_by
