"""What a study writes down: read again it is the same, it may grow, and nothing else of it may change."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from nextpatch.config import dumps_toml
from nextpatch.core.errors import ConfigError
from nextpatch.study.kept import Settled, as_file, check_same, read_settled, study_digest, write_settled, write_study
from nextpatch.study.layout import Layout
from nextpatch.study.reading import read_study
from nextpatch.study.ready import as_it_is, made_ready
from studies_made import SMALL, small

WHOLE: dict[str, Any] = {
    "notes": ["a small one"],
    "probe": {"data": "demo:test", "probes": ["linear"]},
    "tokenizers": {"km": {"codes": 8}},
    "checkpoints": [1],
    "variants": {
        **SMALL["variants"],
        "codes": {"tokenizer": "km", "about": "codes", "paper": {"linear": 1.5}, "probe": {"labels": [10]}},
    },
}


def test_a_study_written_down_is_the_study(tmp_path: Path) -> None:
    study = small(**WHOLE)
    write_study(Layout.of(tmp_path), study)
    assert read_study(tmp_path / "study.toml") == study
    assert dumps_toml(as_file(study)) == (tmp_path / "study.toml").read_text()


def test_a_study_may_grow(tmp_path: Path) -> None:
    write_study(Layout.of(tmp_path), small(**WHOLE))
    grown = copy.deepcopy({**WHOLE, "seeds": [0, 1, 2], "title": "Orders", "equal": "they are", "notes": []})
    grown["variants"]["spiral"] = {"model": {"order": "spiral"}}
    grown["variants"]["codes"]["paper"]["linear"] = 2.5
    grown["tokenizers"]["other"] = {"codes": 4}
    grown["claims"] = [*SMALL["claims"], {"better": "spiral", "than": "random", "by": "linear"}]
    check_same(Layout.of(tmp_path), small(**grown))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seeds": [0]}, "seeds 1 are gone"),
        ({"claims": []}, "the claim 'raster is better than random' is gone"),
        ({"checkpoints": [2]}, r"checkpoints is \[2\], was \[1\]"),
        ({"tokenizers": {"km": {"codes": 9}}}, "tokenizers.km.codes is 9, was 8"),
        ({"probe": {"data": "demo:test", "probes": ["linear"], "epochs": 3}}, "probe.epochs is 3, was absent"),
        ({"recipe": {**SMALL["recipe"], "optim": {"lr": 0.5}}}, "recipe.optim.lr is 0.5, was absent"),
        ({"variants": {**WHOLE["variants"], "random": {"model": {"order": "spiral"}}}},
         "variants.random.values.model.order is spiral, was random"),
        ({"variants": SMALL["variants"]}, "variants.codes.tokenizer is absent"),
    ],
)  # fmt: skip
def test_nothing_else_may_change(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    write_study(Layout.of(tmp_path), small(**WHOLE))
    with pytest.raises(ConfigError, match=said):
        check_same(Layout.of(tmp_path), small(**{**WHOLE, **changed}))


def test_the_digest_is_of_what_decides_the_figures() -> None:
    whole = small(**WHOLE)
    assert study_digest(whole) == study_digest(small(**{**WHOLE, "title": "Other", "notes": []}))
    assert study_digest(whole) != study_digest(small(**{**WHOLE, "checkpoints": []}))


def test_what_was_settled_stays_whatever_machine_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = copy.deepcopy(SMALL["recipe"])
    del recipe["train"]["threads"]
    monkeypatch.setattr("nextpatch.study.ready.usable_cores", lambda: 8)
    first = made_ready(small(recipe=recipe), tmp_path, None, jobs=2)
    monkeypatch.setattr("nextpatch.study.ready.usable_cores", lambda: 64)
    again = made_ready(small(recipe=recipe), tmp_path, None, jobs=1)
    assert first == again
    assert again.settled.threads == 4
    assert again.settled.recipes["raster"].train.threads == 4
    assert as_it_is(tmp_path) == again


def test_studies_share_the_runs_in_one_folder(tmp_path: Path) -> None:
    one = made_ready(small(), tmp_path / "one", tmp_path / "runs", 1)
    for run in one.runs.values():
        (tmp_path / "runs" / run.folder).mkdir(parents=True)
    renamed = {"usual": {}, "mixed": {"model": {"order": "random"}}}
    other = made_ready(small(variants=renamed, claims=[]), tmp_path / "other", tmp_path / "runs", 1)
    assert [run.folder for run in other.runs.values()] == [run.folder for run in one.runs.values()]
    assert as_it_is(tmp_path / "other").layout.runs == tmp_path / "runs"  # remembered


def test_a_folder_that_was_renamed_is_the_same_study(tmp_path: Path) -> None:
    first = made_ready(small(), tmp_path / "one", None, 1)
    (tmp_path / "one").rename(tmp_path / "two")
    moved = made_ready(small(), tmp_path / "two", None, 1)
    assert moved.settled == first.settled
    assert moved.layout.runs == tmp_path / "two" / "runs"


def test_nothing_is_written_of_a_study_that_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        made_ready(small(variants={"a": {}, "b": {"train": {"steps": 9}}}, claims=[]), tmp_path / "out", None, 1)
    assert not (tmp_path / "out").exists()


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    layout = Layout.of(tmp_path)
    write_settled(layout, Settled(1))
    assert read_settled(layout) == Settled(1)
    layout.plan.write_text('{"threads": 1}')
    with pytest.raises(ConfigError, match=r"plan.json is not the plan of a study"):
        read_settled(layout)
