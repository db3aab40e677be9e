"""Augmented streams, few labels, other weights, other choices, several ranks: the rest of what a probe can be."""

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
from torch import nn

import nextpatch
from nextpatch.cli import main
from nextpatch.data.error import DataError
from nextpatch.data.sources.open import open_source
from nextpatch.dist.ranks import Ranks
from nextpatch.measure.metrics import Answers
from nextpatch.model.layer_sets import layer_sets
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tasks.probe.extract import RawPixels, TrunkFeatures
from nextpatch.tasks.probe.kinds import PROBE_KINDS
from nextpatch.tasks.probe.labeled import Labeled
from nextpatch.tasks.probe.logistic import PENALTIES, logistic_path
from nextpatch.tasks.probe.neighbors import KNNClassifier
from nextpatch.tasks.probe.run import probe
from nextpatch.weights.foreign import backbone_of
from ranks import run_ranks
from weights_layout import CONFIG, state_of, write_snapshot

FAST: dict[str, Any] = {"lrs": (1e-3, 1e-2), "epochs": 6, "batch_size": 16, "device": "cpu", "layers": ("0", "0-2")}


def config(weights: Path | str, train: Path, test: Path | str, **values: Any) -> ProbeConfig:
    return ProbeConfig(weights, str(train), str(test), **{**FAST, "labels": (60,), **values})


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def rows(out: Path) -> dict[tuple[str, str], dict[str, Any]]:
    values = json.loads((out / "probe.json").read_text())
    return {(r["features"], r["probe"]): r for r in values["results"]}


def figures(out: Path) -> dict[str, Any]:
    """All that was chosen and measured, to the last digit."""
    values = json.loads((out / "probe.json").read_text())
    return {name: values[name] for name in ("results", "sweep", "attention")}


def test_an_augmented_stream_learns_and_repeats(run: Path, train: Path, test: Path) -> None:
    found = []
    for _ in range(2):
        probe(config(run, train, test, augment="paper", epochs=3, probes=("attentive", "linear")), quiet())
        found.append(rows(run))
    assert found[0] == found[1]
    assert json.loads((run / "probe.json").read_text())["augment"] == "paper"
    probe(config(run, train, test, probes=("attentive", "linear")), quiet())
    assert rows(run) != found[0]


def test_the_papers_choice_is_made_on_the_test_images_and_says_so(run: Path, train: Path, test: Path) -> None:
    console = quiet()
    probe(config(run, train, test, select_on="paper", labels=(90,)), console)
    values = json.loads((run / "probe.json").read_text())
    assert values["select_on"] == "paper"
    assert (values["num_select"], values["num_train_pool"]) == (0, 90)
    for row in values["results"]:
        assert row["select_top1"] == pytest.approx(row["test_top1"], abs=0.01)
    assert "as in the paper: too high" in console.file.getvalue()  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="name them as test"):
        config(run, train, "", select_on="paper")


def test_shots_are_labels_per_class_and_logistic_regression_is_there(run: Path, train: Path, test: Path) -> None:
    probe(config(run, train, test, shots=(1, 5), labels=(), probes=("linear", "logistic")), quiet())
    values = json.loads((run / "probe.json").read_text())
    assert {r["labels"] for r in values["results"]} == {3, 15}
    assert {r["probe"] for r in values["results"]} == {"linear", "logistic"}
    row = next(r for r in values["results"] if r["probe"] == "logistic" and r["labels"] == 15)
    assert set(row["test_per_class"]) == {"0", "1", "2"}
    assert row["test_top1"] == pytest.approx(sum(row["test_per_class"].values()) / 3, abs=0.01)
    low, high = row["test_bootstrap95"]["top1"]
    assert low <= row["test_top1"] <= high
    assert row["test_top5"] == 100.0  # of three classes


def test_a_logistic_regression_is_at_its_optimum() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (200,), generator=generator)
    x = torch.randn(200, 6, generator=generator) + labels[:, None] * torch.tensor([1.0, 0, 0, 0, 0, 0])
    path = logistic_path(x, labels, 4)
    assert len(path) == len(PENALTIES)
    for penalty, model in zip(sorted(PENALTIES, reverse=True), path, strict=True):
        weight, bias = (t.double().requires_grad_() for t in (model.weight, model.bias))
        z = ((x - model.mean) / model.scale).double()
        loss = nn.functional.cross_entropy(z @ weight.T + bias, labels) + penalty / 2 * weight.square().sum()
        for gradient in torch.autograd.grad(loss, [weight, bias]):
            assert gradient.abs().max() < 1e-3


def test_metrics_are_the_textbooks() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    answers = np.array([[0, 1], [1, 0], [1, 0], [1, 2], [0, 2]])
    scored = Answers(answers, labels)
    assert scored.top1 == 60
    assert scored.top5 == 100
    assert scored.per_class == {0: 50, 1: 100, 2: 0}
    assert scored.macro_f1 == pytest.approx(100 * (0.5 + 0.8 + 0) / 3)
    drawn = scored.bootstrap(0)
    assert drawn == scored.bootstrap(0)
    assert drawn["top1"][0] < 60 < drawn["top1"][1]


def test_windows_of_six_and_every_depth() -> None:
    sets = layer_sets(("each", "windows"), 8)
    assert list(sets) == [*map(str, range(8)), "0-5", "1-6", "2-7"]
    assert layer_sets(("windows",), 4) == {"0-3": [f"block_{i}" for i in range(4)]}


def test_weights_that_are_no_run_need_a_place_and_keep_the_choice(
    tmp_path: Path, train: Path, test: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = write_snapshot(tmp_path / "weights" / "snapshot", state_of(CONFIG), CONFIG)
    words = ["probe", f"{weights}/model.safetensors", "--data", str(train), "--test", str(test), "--lrs", "1e-3",
             "--epochs", "2", "--labels", "30", "--device", "cpu", "--layers", "1", "2-4"]  # fmt: skip
    assert main(words) == 2
    capsys.readouterr()
    config_of = {**CONFIG, "embed_dim": 128, "num_heads": 2, "num_blocks": 4, "patch_size": 14, "probe_layers": [1, 2]}
    weights = write_snapshot(tmp_path / "known", state_of(config_of), config_of)
    out = tmp_path / "measured"
    assert main(["probe", str(weights), *words[2:], "--out", str(out)]) in (0, 2)
    seen = ["--img-size", "28", "28", "--pixel-range", "0", "4095", "--layout", "channels_first"]
    assert main(["probe", f"{weights}/model.safetensors", *words[2:], "--out", str(out), "--layers", "1", *seen]) == 0
    values = json.loads((out / "probe.json").read_text())
    assert {r["features"] for r in values["results"]} == {"pre-trained", "raw pixels"}
    assert values["view"] == "resized to cover 32 x 32 px (bicubic), center 28 x 28"
    assert values["view"] in " ".join(capsys.readouterr().out.split())
    assert values["preprocessing"]["pixel_range"] == [0, 4095]
    both = nextpatch.load(f"{weights}+{out}/probe.safetensors")
    assert both.classes == ("cat", "dog", "elk")
    assert (both.about.img_size, both.about.num_patches, both.about.preprocessing.layout) == (
        (28, 28),
        4,
        "channels_first",
    )
    assert nextpatch.load(f"{weights}+{out}/probe.safetensors", img_size=(42, 28)).about.num_patches == 6
    assert both.about.layers == ("block_1",)
    assert both(torch.randn(1, 3, 28, 28)).shape == (1, 3)


class Patches(nn.Module):
    """A callable's worth of features: two blocks of three patches."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 8)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        found = self.linear(images.unflatten(2, (-1, 8)).mean(dim=(3, 4)).transpose(1, 2))
        return [found, found.square()]


def test_a_callable_is_a_backbone(train: Path, test: Path, tmp_path: Path) -> None:
    model = Patches()
    backbone = backbone_of(model, model, {"img_size": (24, 24), "num_heads": 2}, name="mine")
    given = config("mine", train, test, out=tmp_path / "out", layers=("0", "1"), probes=("attentive", "knn"))
    probe(given, quiet(), backbone=backbone)
    assert set(rows(tmp_path / "out")) >= {("pre-trained", "attentive"), ("pre-trained", "knn")}


def measured(run: str, train: str, test: str, out: str) -> int:
    with Ranks.opened() as world:
        probe(config(run, Path(train), test, out=Path(out), augment="paper"), ranks=world)
    return world.rank


def test_two_ranks_give_the_figures_of_one(run: Path, train: Path, test: Path, tmp_path: Path) -> None:
    (test / "cat" / "003.png").write_bytes(b"")  # an odd number of images
    measured(str(run), str(train), str(test), str(tmp_path / "one"))
    assert run_ranks(measured, 2, str(run), str(train), str(test), str(tmp_path / "two")) == [0, 1]
    one, two = (json.loads((tmp_path / name / "probe.json").read_text()) for name in ("one", "two"))
    assert one["num_test"] == two["num_test"] == 29
    for ours, theirs in zip(one["results"], two["results"], strict=True):
        for name in ("labels", "features", "probe", "layers", "lr", "k"):
            assert ours[name] == theirs[name]
        assert ours["test_top1"] == pytest.approx(theirs["test_top1"], abs=3.5)  # one image: sums in another order
        assert ours["select_top1"] == pytest.approx(theirs["select_top1"], abs=6)


def test_a_cache_is_filled_once_and_changes_no_figure(
    run: Path, train: Path, test: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (train / "dog" / "001.png").write_bytes(b"")
    given = config(run, train, test, probes=tuple(PROBE_KINDS), neighbors=(1, 2, 3, 5, 8), labels=(69,))
    probe(given, quiet())
    plain = figures(run)
    seen: list[int] = []
    real = TrunkFeatures.__call__

    def counting(self: TrunkFeatures, source: Any, indices: Any) -> Any:
        for group in real(self, source, indices):
            seen.append(len(group.indices))
            yield group

    monkeypatch.setattr(TrunkFeatures, "__call__", counting)
    totals, found = [], []
    for _ in range(2):
        seen.clear()
        probe(replace(given, cache=tmp_path / "cache"), quiet())
        totals.append(sum(seen))
        found.append(figures(run))
    assert totals[0] - totals[1] >= 2 * 68  # those to learn from, of the run and of its untrained twin
    assert found == [plain, plain]
    assert len(list((tmp_path / "cache").glob("*.f32"))) == 2
    next((tmp_path / "cache").glob("*.f32")).unlink()
    probe(replace(given, cache=tmp_path / "cache"), quiet())
    assert figures(run) == plain


def test_several_seeds_give_mean_and_deviation(
    run: Path, train: Path, test: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["probe", str(run), "--data", str(train), "--test", str(test), "--labels", "9", "--lrs", "1e-2", "--epochs",
             "3", "--device", "cpu", "--layers", "0", "--probes", "linear", "--seeds", "3"]  # fmt: skip
    assert main(words) == 0
    assert "mean of 3 seeds" in capsys.readouterr().out
    values = json.loads((run / "seeds.json").read_text())
    assert values["seeds"] == [0, 1, 2]
    row = next(r for r in values["results"] if r["features"] == "pre-trained")
    assert len(row["test_top1"]) == 3
    assert row["mean"] == pytest.approx(np.mean(row["test_top1"]), abs=0.01)
    assert row["std"] == pytest.approx(np.std(row["test_top1"], ddof=1), abs=0.01)
    assert rows(run)["pre-trained", "linear"]["test_top1"] == row["test_top1"][0]


def test_faiss_finds_the_same_neighbors(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    generator = torch.Generator().manual_seed(0)
    bank, labels = torch.randn(500, 8, generator=generator), torch.randint(0, 3, (500,), generator=generator)
    queries = torch.randn(40, 8, generator=generator)
    exact = KNNClassifier(bank, labels, 3).votes_at(queries, [1, 5, 20])
    monkeypatch.setattr("nextpatch.tasks.probe.neighbors._MANY", 100)
    large = KNNClassifier(bank, labels, 3)
    assert large._index is not None
    torch.testing.assert_close(large.votes_at(queries, [1, 5, 20]), exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"damaged"])
def test_a_probe_replaces_what_an_earlier_one_has_left_however_damaged(
    run: Path, train: Path, test: Path, content: bytes
) -> None:
    (run / "probe.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"probe\.safetensors"):
        nextpatch.load(run)
    probe(config(run, train, test, probes=("attentive",), epochs=1), quiet())
    assert nextpatch.load(run).classes == ("cat", "dog", "elk")


@pytest.mark.parametrize("planned", [0, 4])
def test_a_rank_with_no_image_that_decodes_has_no_features(planned: int, tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.png").write_bytes(b"no image")
    indices, labels = np.arange(planned), np.zeros(planned, np.int64)
    source = open_source(str(tmp_path))
    part = Labeled.open(RawPixels((8, 8), 3), source, indices, labels, 2**30, Ranks(0, 2))
    vectors, found = part.pooled()
    assert (vectors.shape, len(found)) == ((1, 0, 192), 0)
    if planned:
        with pytest.raises(DataError, match="no image of"):
            Labeled.open(RawPixels((8, 8), 3), source, indices, labels, 2**30)
