"""`nextpatch probe` on a tiny run: what it measures, what it writes, and that test labels choose nothing."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from labeled import CLASSES, write_labeled
from nextpatch.core.errors import UserError
from nextpatch.data.sources.open import open_source
from nextpatch.data.splits import Splits
from nextpatch.model.attentive import AttentiveClassifier
from nextpatch.tasks.probe import run as probe_run
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tasks.probe.extract import TrunkFeatures
from nextpatch.tasks.probe.labeled import Labeled
from nextpatch.tasks.probe.run import probe
from nextpatch.tasks.probe.score import Scored
from nextpatch.weights.classifier import read_classifier_head
from nextpatch.weights.error import WeightsError
from nextpatch.weights.inference import InferenceModel
from nextpatch.weights.load import load


def config(run: Path, train: Path, test: Path | str, **values: Any) -> ProbeConfig:
    given = {"labels": (9, 60), "lrs": (1e-3, 1e-2), "epochs": 8, "batch_size": 16, "device": "cpu"} | values
    return ProbeConfig(run, str(train), str(test), **given)


UNTRAINED = {"lrs": (), "epochs": 0, "batch_size": 0}  # of which neighbors read nothing


def inference(run: Path) -> InferenceModel:
    return InferenceModel.of(load(run), "cpu", "fp32")


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def test_every_probe_and_both_baselines_are_measured(run: Path, train: Path, test: Path) -> None:
    console = quiet()
    probe(config(run, train, test, epochs=40), console)
    values = json.loads((run / "probe.json").read_text())
    rows = {(r["labels"], r["features"], r["probe"]) for r in values["results"]}
    trunks = {
        (n, f, p) for n in (9, 60) for f in ("pre-trained", "random init") for p in ("attentive", "linear", "knn")
    }
    assert rows == trunks | {(n, "raw pixels", p) for n in (9, 60) for p in ("linear", "knn")}
    assert values["num_test"] == 30
    assert values["checkpoint_step"] == 5
    best = max(r["test_top1"] for r in values["results"] if r["features"] == "pre-trained")
    assert best > 60  # chance is 33
    for row in values["results"]:
        low, high = row["test_ci95"]
        assert low < row["test_top1"] < high or row["test_top1"] in (0.0, 100.0)
    depths = {(r["layers"]) for r in values["sweep"] if r["probe"] == "attentive"}
    assert depths == {"block_0", "block_1", "block_2", "block_0-2"}
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for words in ("pre-trained", "random init", "raw pixels", "attentive", "knn", "30 images, 3 classes"):
        assert words in shown


def test_without_baselines_the_weights_alone_are_measured_and_score_the_same(
    run: Path, train: Path, test: Path, tmp_path: Path
) -> None:
    asked = config(run, train, test, probes=("linear", "knn"))
    with_all = probe(replace(asked, out=tmp_path / "all"), quiet()).results
    alone = probe(replace(asked, out=tmp_path / "alone", baselines=False), quiet()).results
    assert {row.features for row in with_all} == {"pre-trained", "random init", "raw pixels"}
    assert list(alone) == [row for row in with_all if row.features == "pre-trained"]


def test_test_labels_are_opened_after_every_choice_and_never_before(
    run: Path, train: Path, test: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    kind = type(open_source(str(test)))
    label = kind.label

    def spied(self: Any, index: int) -> int | None:
        if self.name == str(test):
            events.append("test label")
        return label(self, index)

    def open_labels(self: Splits, indices: np.ndarray) -> np.ndarray:
        events.append("opened")
        return opened(self, indices)

    def scored(choices: Any, extractors: Any, splits: Splits, world: Any) -> list[Scored]:
        events.append(f"{len(choices)} choices frozen")
        assert isinstance(choices, tuple)
        return score(choices, extractors, splits, world)

    opened, score = Splits.open_test_labels, probe_run.score
    monkeypatch.setattr(kind, "label", spied)
    monkeypatch.setattr(Splits, "open_test_labels", open_labels)
    monkeypatch.setattr(probe_run, "score", scored)
    probe(config(run, train, test), quiet())
    assert events == ["16 choices frozen", "opened", *["test label"] * 30]


def test_other_test_labels_change_no_choice(run: Path, train: Path, test: Path, tmp_path: Path) -> None:
    def choices() -> list[dict[str, Any]]:
        probe(config(run, train, test), quiet())
        rows = json.loads((run / "probe.json").read_text())["results"]
        return [{k: v for k, v in row.items() if not k.startswith("test")} for row in rows]

    before, saved = choices(), load_file(run / "probe.safetensors")
    (test / "cat").rename(test / "swap")
    (test / "dog").rename(test / "cat")
    (test / "swap").rename(test / "dog")
    assert choices() == before
    assert all(torch.equal(tensor, saved[name]) for name, tensor in load_file(run / "probe.safetensors").items())


def test_the_saved_probe_gives_the_reported_accuracy(run: Path, train: Path, test: Path) -> None:
    probe(config(run, train, test), quiet())
    results = json.loads((run / "probe.json").read_text())["results"]
    row = next(r for r in results if (r["labels"], r["features"], r["probe"]) == (60, "pre-trained", "attentive"))
    classifier_head = read_classifier_head(run / "probe.safetensors")
    source = open_source(str(test))
    extract = TrunkFeatures(inference(run), {"": row["layers"]})
    [found] = extract(source, np.arange(30))
    assert classifier_head.layers == tuple(row["layers"])
    assert classifier_head.classes == ("cat", "dog", "elk")
    with torch.no_grad():
        right = classifier_head.classifier(found.features[0]).argmax(1) == torch.arange(30) // 10
    assert 100 * float(right.float().mean()) == pytest.approx(row["test_top1"], abs=0.01)


def test_the_same_seed_gives_the_same_figures(run: Path, train: Path) -> None:
    figures = []
    for _ in range(2):
        probe(config(run, train, "", labels=()), quiet())
        values = json.loads((run / "probe.json").read_text())
        figures.append({k: v for k, v in values.items() if k not in ("elapsed_s", "sha256")})
    assert figures[0] == figures[1]
    assert figures[0]["num_test"] == 18


def test_features_that_do_not_fit_are_computed_each_epoch_and_give_the_same(
    run: Path, train: Path, test: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for room in (2**30, 0):
        monkeypatch.setattr(probe_run, "memory_for_features", lambda room=room: room)
        probe(config(run, train, test, labels=(48,), epochs=3), quiet())
        values = json.loads((run / "probe.json").read_text())
        found.append([row["test_top1"] for row in values["results"]])
    assert found[0] == pytest.approx(found[1], abs=3.4)  # one image of thirty


def test_images_that_cannot_be_decoded_are_left_out(run: Path, train: Path, test: Path) -> None:
    for folder in (train, test):
        (folder / "dog" / "001.png").write_bytes(b"not an image")
    probe(config(run, train, test, labels=()), quiet())
    values = json.loads((run / "probe.json").read_text())
    assert values["num_test"] == 29
    log = (run / "log.txt").read_text()
    assert log.count(str(test / "dog" / "001.png")) == 1  # not once for every kind of features
    assert log.count(str(train / "dog" / "001.png")) == 1
    assert "(2 skipped so far)" in log


def test_labels_and_features_stay_together(run: Path, train: Path) -> None:
    (train / "cat" / "002.png").write_bytes(b"")
    source = open_source(str(train))
    indices = np.arange(90)[::-1].copy()
    labels = np.array([source.label(i) for i in indices.tolist()])
    extract = TrunkFeatures(inference(run), {"0": ["block_0"]})
    held = Labeled.open(extract, source, indices, labels, 2**30)
    streamed = Labeled.open(extract, source, indices, labels, 0)
    assert (len(held), len(held.first(40)), len(streamed.first(40))) == (89, 40, 40)
    order = np.random.default_rng(0).permutation(40)
    for part in (held.first(40), streamed.first(40)):
        features, found = zip(*part.batches(7, order), strict=True)
        assert [len(batch) for batch in found] == [7, 7, 7, 7, 7, 5]
        assert torch.cat(found).tolist() == labels[order].tolist()
        alone = next(extract(source, indices[order[:1]])).features[:, 0]
        torch.testing.assert_close(features[0][:, 0], alone, rtol=1e-4, atol=1e-5)


def test_the_released_layout_holds_the_probe() -> None:
    state = AttentiveClassifier(8, 2, 3).state_dict()
    assert set(state) == {
        "cls_token", "k.weight", "v.weight", "linear.weight", "linear.bias",
        "bn.running_mean", "bn.running_var", "bn.num_batches_tracked",
    }  # fmt: skip


def test_values_that_make_no_sense_are_refused(run: Path) -> None:
    good = ProbeConfig(run, "x")
    for values in (
        {"data": ""},
        {"labels": (1,)},
        {"lrs": (1e-9,)},
        {"epochs": -1},
        {"warmup": 1.0},
        {"neighbors": (0,)},
    ):
        with pytest.raises(ValueError):
            replace(good, **values)


def test_two_classes_of_four_images_are_enough(run: Path, tmp_path: Path) -> None:
    probe(config(run, write_labeled(tmp_path / "few", 4, 0, CLASSES[:2]), "", labels=()), quiet())
    assert json.loads((run / "probe.json").read_text())["num_test"] == 2


def test_a_probe_that_diverged_is_no_figure(run: Path, train: Path, test: Path) -> None:
    with pytest.raises(UserError, match=r"not finite with every learning rate .*lower --lrs"):
        probe(
            config(run, train, test, lrs=(1e6,), weight_decay=1.0, labels=(9,), epochs=20, probes=("linear",)), quiet()
        )
    assert not (run / "probe.json").exists()
    probe(config(run, train, test, lrs=(1e-2, 1e6), weight_decay=1.0, labels=(60,), probes=("linear",)), quiet())
    rows = json.loads((run / "probe.json").read_text())["results"]
    assert {row["lr"] for row in rows} == {1e-2}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_name_the_layer_and_the_image(
    value: float, run: Path, train: Path, test: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = InferenceModel.features

    def broken(self: InferenceModel, images: Any, layers: Any) -> Any:
        found = features(self, images, layers)
        found["block_1"][2] = value
        return found

    monkeypatch.setattr(InferenceModel, "features", broken)
    with pytest.raises(WeightsError, match=r"block_1 of .*\.png holds numbers that are not finite"):
        probe(config(run, train, test, probes=("linear",)), quiet())


@pytest.mark.parametrize(
    ("changes", "told"), [({"layers": ("9",)}, "blocks 0 to 2"), ({"out": Path("README.md/x")}, "is not a folder")]
)
def test_what_cannot_be_is_refused_before_an_image_is_read(
    changes: dict[str, Any], told: str, run: Path, train: Path, test: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    monkeypatch.setattr(probe_run, "open_splits", lambda *_: pytest.fail("the images were opened"))
    with pytest.raises(UserError, match=told):
        probe(config(run, train, test, **changes), quiet())


def test_neighbors_alone_train_nothing_by_gradients(
    run: Path, train: Path, test: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextpatch.tasks.probe.fit.Fit.step", lambda *_: pytest.fail("a probe was trained"))
    probe(config(run, train, test, labels=(60,), neighbors=(1,), probes=("knn",), **UNTRAINED), quiet())
    rows = json.loads((run / "probe.json").read_text())["results"]
    assert {row["probe"] for row in rows} == {"knn"}
    assert all(row["test_top5"] == row["test_top1"] for row in rows)
