"""Results: the same after their file, whatever an earlier or later version wrote beside; and readable by people."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nextpatch.config import from_dict
from nextpatch.core.files import write_json
from nextpatch.measure.bench_result import BenchmarkScore, BenchResult
from nextpatch.measure.finetune_summary import FinetuneSummary
from nextpatch.measure.probe_result import PIXELS, PRETRAINED, LayerScore, ProbeResult, ProbeScore, SavedProbe
from nextpatch.measure.run_summary import RunHistory, RunSummary
from nextpatch.runs.results import read_probe, read_summary
from nextpatch.runs.run import RunError

OLD = Path(__file__).parents[1] / "data" / "old" / "run"


def score(features: str, probe: str, top1: float) -> ProbeScore:
    return ProbeScore(
        labels=9, features=features, probe=probe, layers=("block_0",), lr=1e-3, select_top1=60.0, test_top1=top1,
        test_ci95=(top1 - 1, top1 + 1), test_bootstrap95={"top1": (1.0, 2.0)}, test_per_class={"0": 50.0},
    )  # fmt: skip


RESULT = ProbeResult(
    weights="<w>", classes=("a", "<b>"), num_test=30, checkpoint_step=5, view="seen & <cropped>",
    results=(score(PRETRAINED, "linear", 60.0), score(PRETRAINED, "knn", 55.0), score(PIXELS, "<knn>", 50.0)),
    sweep=(LayerScore(labels=9, probe="linear", layers="block_0", lr=1e-3, select_top1=60.0),),
    attention=SavedProbe(9, ("block_0",), 60.0),
)  # fmt: skip
BENCH = BenchResult(
    model="<w>", results={"pets": BenchmarkScore(top1=91.5, ci95=(90.0, 93.0), counts=(3680, 3669, 37))}
)


def test_a_probe_is_the_same_after_its_file(tmp_path: Path) -> None:
    write_json(tmp_path / "probe.json", {**RESULT.to_dict(), "of_a_later_version": {"x": 1}})
    assert read_probe(tmp_path / "probe.json") == RESULT


def test_the_probe_of_an_earlier_version_is_read_and_written_the_same() -> None:
    then = json.loads((OLD / "probe.json").read_text())
    del then["sha256"]
    found = read_probe(OLD / "probe.json")
    now = {**then, "feature_attention": "bidirectional", "pooling": "mean"}  # the only ones then
    assert json.dumps(found.to_dict()) == json.dumps(now)  # to the last digit, in the same order


def row(**changes: Any) -> dict[str, Any]:
    return {"labels": 9, "features": "x", "probe": "knn", "test_top1": 50.0, "test_ci95": [40.0, 60.0], **changes}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "it holds no results of a probe"),
        ({"results": 3}, "it holds no results of a probe"),
        ({"results": [3]}, "a row of its results is not whole"),
        ({"results": [row(test_top1="50")]}, r"not whole \('results\[0\].test_top1' needs float, got str '50'\)"),
        ({"results": [row(test_top1=float("nan"))]}, "not whole .*not finite"),
        ({"results": [row(test_ci95=[1.0])]}, "a row of its results is not whole"),
        ({"results": [{k: v for k, v in row().items() if k != "labels"}]}, r"'results\[0\].labels' is missing"),
        ({"results": [row()], "sweep": [{"probe": "knn"}]}, "a row of its sweep is not whole"),
        ({"results": [row()], "classes": 7}, r"no whole results of a probe \('classes' needs"),
    ],
)
def test_a_probe_that_is_not_whole_is_refused_in_words(values: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = tmp_path / "probe.json"
    path.write_text(json.dumps(values))
    with pytest.raises(RunError, match=rf"probe\.json: .*{told}.*; measure again with nextpatch probe"):
        read_probe(path)


def test_a_run_is_summed_up_from_what_it_logged() -> None:
    found = read_summary(OLD)
    assert (found.run, found.step, found.planned_steps) == ("run", 6, 6)
    assert found.val_loss == pytest.approx(1.4578, abs=1e-4)
    assert found.first_val_loss is not None
    assert found.first_val_loss > found.val_loss
    assert "6 of 6" in str(found)
    assert "1.4578" in found._repr_html_()
    assert "baseline" not in str(found)  # was not measured


def test_damaged_entries_are_counted_and_later_ones_can_be_left_out() -> None:
    def train(step: int, **changes: Any) -> dict[str, Any]:
        speed = {"images": 4 * step, "elapsed_s": step / 2, "images_per_s": 8.0, "tflops": 0.1}
        return {"kind": "train", "step": step, "loss": 1.0 / step, **speed, **changes}

    entries = [train(1), train(2, loss=None), train(3, tflops="x"), train(4), {"kind": "guard", "step": 4}]
    history = RunHistory.from_entries(entries)
    assert ([e.step for e in history.train], history.num_damaged, history.step) == ([1, 4], 2, 4)
    early = RunSummary.of("run", 10, history.until(3))
    assert (early.step, early.train_loss, early.images, early.images_per_s) == (1, 1.0, 4, 8.0)
    assert RunSummary.of("run", 10, RunHistory()).train_loss is None


def test_bits_per_dimension_of_the_last_validation_are_in_the_summary() -> None:
    entries = [{"kind": "val", "step": step, "loss": 4.0, "bits_per_dim": bits} for step, bits in ((0, 8.0), (5, 3.25))]
    found = RunSummary.of("run", 5, RunHistory.from_entries(entries))
    assert found.bits_per_dim == 3.25
    assert "bits per dimension" in str(found)


def test_the_fine_tuning_of_an_earlier_version_is_read_and_written_the_same() -> None:
    then = json.loads((OLD.parent / "finetuned" / "finetune.json").read_text())
    del then["sha256"]
    found = from_dict(FinetuneSummary, {**then, "of_a_later_version": 1}, extra_keys=True)
    assert json.dumps(found.to_dict()) == json.dumps(then)
    assert "100.0 (82.4–100.0)" in str(found)
    assert "1,536 of 6,304" in found._repr_html_()


def test_benchmarks_are_the_same_after_their_file() -> None:
    assert from_dict(BenchResult, json.loads(json.dumps(BENCH.to_dict()))) == BENCH


@pytest.mark.parametrize(("result", "words"), [(RESULT, "60.0 (59.0–61.0)"), (BENCH, "91.5")])
def test_results_print_well_and_escape_what_others_named(result: Any, words: str) -> None:
    assert words in str(result)
    html = result._repr_html_()
    assert words in html
    assert "&lt;" in html
    for text in ("<w>", "<knn>", "<cropped>"):
        assert text not in html


@pytest.mark.parametrize(("result", "key", "values"), [(RESULT, "test_top1", [60, 55, 50]), (BENCH, "top1", [91.5])])
def test_results_are_data_frames(result: Any, key: str, values: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))
    assert [record[key] for record in result.to_pandas()] == values
