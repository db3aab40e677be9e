"""Kinds of probes: a new one is a file and a line of the registry; what a kind does not read is refused."""

from __future__ import annotations

import io
import json
from dataclasses import fields
from pathlib import Path

import pytest
from rich.console import Console

from nextpatch.core.errors import ConfigError
from nextpatch.runs.results import read_probe
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tasks.probe.evaluator import Evaluator, evaluator_of
from nextpatch.tasks.probe.kinds import PROBE_KINDS, ProbeKind, kinds_on, unread_values
from nextpatch.tasks.probe.run import probe
from nextpatch.tasks.report.build import write_report
from nextpatch.tasks.report.probe_page import write_probe_page


@pytest.fixture
def class_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROBE_KINDS, "class-mean", ProbeKind("tasks.probe.class_mean:CLASS_MEAN"))


def test_a_new_kind_is_measured_written_and_shown(
    class_mean: None, run: Path, train: Path, test: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(file=io.StringIO(), width=150)
    config = ProbeConfig(run, str(train), str(test), labels=(60,), probes=("class-mean", "knn"), device="cpu")
    result = probe(config, console)
    assert result == read_probe(run / "probe.json")
    assert [row.probe for row in result.results] == ["knn", "class-mean"] * 3  # of weights, untrained network, pixels
    assert {row.probe for row in result.sweep} == {"knn", "class-mean"}
    assert "class-mean" in console.file.getvalue()  # type: ignore[attr-defined]
    assert result.attention is None  # it is not saved
    best = next(row for row in result.results if row.probe == "class-mean" and row.features == "raw pixels")
    assert best.test_top1 > 60  # chance is 33
    for page in (write_probe_page(run), write_report(run).page):
        assert "<td>class-mean</td>" in page.read_text()
    assert "class-mean" in {row["probe"] for row in json.loads((run / "report.json").read_text())["probe"]["results"]}


def test_every_registered_kind_is_made_where_it_says() -> None:
    assert all(isinstance(evaluator_of(kind), Evaluator) for kind in PROBE_KINDS)
    assert {name for kind in PROBE_KINDS.values() for name in kind.reads} <= {f.name for f in fields(ProbeConfig)}


def test_a_kind_that_attends_has_another_in_its_place_on_vectors(class_mean: None) -> None:
    assert kinds_on(("knn", "attentive"), patches=True) == ["attentive", "knn"]
    assert kinds_on(("knn", "attentive"), patches=False) == ["linear", "knn"]
    assert kinds_on(("linear", "attentive", "class-mean"), patches=False) == ["linear", "class-mean"]


def test_values_that_no_kind_reads_are_refused(class_mean: None) -> None:
    assert unread_values(("attentive", "knn")) == []
    assert unread_values(("linear",)) == ["heads", "neighbors"]
    with pytest.raises(ConfigError, match="lrs, neighbors have no effect on the probes class-mean logistic"):
        ProbeConfig("w", "x", probes=("class-mean", "logistic"), lrs=(1e-2,), neighbors=(3,))


def test_an_unknown_kind_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no probe liner \(did you mean 'linear'\?\); there are attentive, linear"):
        ProbeConfig("w", "x", probes=("liner",))
