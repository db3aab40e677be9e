"""Generated images against real ones: equal numbers, floors, copies, classes, and features of any kind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import nextpatch
from nextpatch.cli.command import main
from nextpatch.core.errors import UserError
from nextpatch.tasks.evaluate import look
from nextpatch.tasks.evaluate.extractor import Extractor, extractor_of, of_weights, with_channels
from nextpatch.tasks.evaluate.requested import open_samples
from weights_layout import CONFIG, state_of, write_snapshot


def images(seed: int, count: int, most: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, most, (count, 12, 12), np.uint8)


def few(pixels: Tensor) -> Tensor:
    """Four values an image."""
    return pixels.float().unflatten(2, (2, 6)).unflatten(4, (2, 6)).mean(dim=(1, 3, 5)).flatten(1)


def folder(place: Path, arrays: np.ndarray, classes: int = 0) -> str:
    for number, one in enumerate(arrays):
        inner = place / f"class{number % classes}" if classes else place
        inner.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one).save(inner / f"{number:03d}.png")
    return str(place)


def test_the_floor_is_of_as_many_training_images_or_of_disjoint_halves() -> None:
    made, real, train = images(0, 24, 200), images(1, 60), images(2, 50)
    with_train = nextpatch.evaluate_samples(made, real, train=train, features=few, quiet=True)
    found, floor = with_train.distances
    assert (found.images, found.others, floor.images, floor.others) == (24, 60, 24, 60)
    assert floor.of == "training images"
    assert found.frechet > 3 * floor.frechet
    assert any("unequal numbers, 24 samples against 60" in note for note in with_train.notes)
    alone = nextpatch.evaluate_samples(made, real, features=few, quiet=True)
    assert (alone.distances[1].images, alone.distances[1].others) == (24, 24)
    assert alone.distances[1].frechet > 0
    assert any("the floor is of 24 against 24" in note for note in alone.notes)
    equal = nextpatch.evaluate_samples(made, real, features=few, count=20, quiet=True)
    assert [one.images for one in equal.distances] == [20, 10]
    one, other = look.halves(np.arange(9), 20, 0)
    assert (len(one), len(other), len(np.intersect1d(one, other))) == (4, 4, 0)


def test_figures_do_not_depend_on_the_batch_and_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    made, real = images(0, 30, 200), images(1, 30)
    by_size = [nextpatch.evaluate_samples(made, real, features=few, batch_size=b, quiet=True) for b in (4, 30)]
    assert by_size[0].distances[0].frechet == pytest.approx(by_size[1].distances[0].frechet, rel=1e-9)
    assert by_size[0].pixels == by_size[1].pixels
    monkeypatch.setattr(look, "KEPT", 12)
    bounded = nextpatch.evaluate_samples(made, real, features=few, quiet=True)
    assert bounded.distances[0].frechet == pytest.approx(by_size[0].distances[0].frechet, rel=1e-9)
    assert bounded.distances[0].images == 30
    assert [one.images for one in bounded.pixels] == [12, 12]


def test_copies_of_training_images_are_found_and_shown(tmp_path: Path) -> None:
    train = images(0, 40)
    made = np.concatenate([train[[3, 17]], images(1, 10)])
    result = nextpatch.evaluate_samples(made, images(2, 12), train=train, features=few, out=tmp_path / "o", quiet=True)
    samples, real = result.pixels
    assert (samples.copies, real.copies) == (2, 0)
    assert samples.nearest is not None
    assert real.nearest is not None
    assert samples.nearest.smallest == 0 < real.nearest.smallest
    assert any("2 samples are equal to a training image" in note for note in result.notes)
    said = json.loads((tmp_path / "o" / "evaluation.json").read_text())
    assert said["pixels"][0]["copies"] == 2
    assert next(iter(said)) == "nextpatch"
    with Image.open(tmp_path / "o" / "nearest.png") as picture:
        assert picture.width > 600
        assert len(picture.convert("L").getcolors(256) or []) > 50


def test_samples_with_a_class_are_recognized_by_name_and_differ_within_it(tmp_path: Path) -> None:
    """The classifier has the classes in another order, and one that the samples have not."""
    bright = np.stack([np.full((12, 12), 200 if number % 2 else 20, np.uint8) for number in range(12)])
    bright[:, :, ::3] += images(0, 12, 30)[:, :, ::3]
    bright[1] = 20  # of class1, and dark
    made = folder(tmp_path / "made", bright, classes=2)

    def classify(pixels: Tensor) -> tuple[Tensor, Tensor]:
        light = pixels.float().mean(dim=(1, 2, 3))
        return few(pixels), torch.stack([light - 110, 110 - light], dim=1)

    extractor = extractor_of(classify, "cpu", "fp32")
    known = look.class_numbers(
        ("class0", "class1", "no"), Extractor(*["a"] * 3, extractor.compute, ("class1", "class0"))
    )
    assert known(torch.tensor([0, 1, 2, -1])).tolist() == [1, 0, -1, -1]
    found = nextpatch.evaluate_samples(
        made, images(1, 12), features=lambda x: (few(x), classify(x)[1].flip(1)), quiet=True
    )
    assert (found.recognized, found.recognized_of) == (pytest.approx(100 * 11 / 12), 12)
    assert found.pixels[0].within_class < found.pixels[0].diversity  # type: ignore[operator]
    assert found.pixels[1].within_class is None


def test_classes_that_samples_were_asked_for_are_in_their_settings(tmp_path: Path) -> None:
    folder(tmp_path / "made", images(0, 7))
    settings = tmp_path / "made" / "settings.json"
    settings.write_text(json.dumps({"labels": ["shoe", "each", "1", "hat"]}))
    source = open_samples(str(tmp_path / "made"), ("bag", "shoe"))
    assert [source.label(number) for number in range(7)] == [1, 0, 1, 1, None, 1, 0]
    settings.write_text(json.dumps({"labels": []}))
    assert open_samples(str(tmp_path / "made"), ("bag", "shoe")).label(0) is None
    settings.write_text(json.dumps({"labels": "shoe"}))
    with pytest.raises(UserError, match="no list of names"):
        open_samples(str(tmp_path / "made"), ("bag", "shoe"))


def test_weights_give_the_vectors_that_embed_gives(tmp_path: Path) -> None:
    weights = write_snapshot(tmp_path / "weights", state_of(CONFIG), CONFIG)
    model = nextpatch.load(weights)
    channels, (height, width) = model.about.in_chans, model.about.img_size
    pixels = np.random.default_rng(0).integers(0, 256, (5, height, width, channels), np.uint8)
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    seen = of_weights(model, "cpu", "fp32").compute(batch)
    assert torch.allclose(seen.features, model.pool(model.read(batch)), atol=1e-6)
    assert seen.logits is not None


def graph_file(path: Path, gives: str = "features", shape: tuple[object, ...] = ("n", 1, 12, 12)) -> Path:
    """The means of rows, and as logits the sums of two halves of them."""
    from onnx import TensorProto, helper, save

    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["rows"], axes=[3], keepdims=0),
        helper.make_node("Flatten", ["rows"], [gives], axis=1),
        helper.make_node("ReduceMean", ["pixels"], ["logits"], axes=[2, 3], keepdims=0),
    ]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", None]) for name in (gives, "logits")]
    given = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, list(shape))]
    model = helper.make_model(
        helper.make_graph(nodes, "g", given, made), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    helper.set_model_props(model, {"classes": json.dumps(["only"])})
    save(model, path)
    return path


def test_a_classifier_of_ones_own_is_an_onnx_file(tmp_path: Path) -> None:
    file = graph_file(tmp_path / "classifier.onnx")
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 24, 24), np.uint8))
    extractor = extractor_of(str(file), "cpu", "fp32")
    seen = extractor.compute(pixels)  # RGB of another size: made gray and smaller
    assert seen.features.shape == (3, 12)
    assert float(seen.features.mean()) == pytest.approx(float(pixels.float().mean()) / 255, abs=0.02)
    assert extractor.classes == ("only",)
    assert len(extractor.sha256) == 64
    unnamed = extractor_of(str(graph_file(tmp_path / "any.onnx", gives="means")), "cpu", "fp32")
    assert torch.equal(unnamed.compute(pixels).features, seen.features)
    with pytest.raises(UserError, match="fixed channels"):
        extractor_of(str(graph_file(tmp_path / "free.onnx", shape=("n", 1, "h", "w"))), "cpu", "fp32")
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match="cannot be opened as ONNX"):
        extractor_of(str(tmp_path / "bad.onnx"), "cpu", "fp32")
    with pytest.raises(UserError, match="does not exist"):
        extractor_of(str(tmp_path / "none.onnx"), "cpu", "fp32")


def test_the_verb_says_what_it_measured_and_refuses_what_would_be_no_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, real = folder(tmp_path / "made", images(0, 12, 200)), folder(tmp_path / "real", images(1, 12))
    (tmp_path / "made" / "bad.png").write_bytes(b"no image")
    assert main(["evaluate-samples", made, "--real", real, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    for word in ("12 samples", "12 real images", "6 real images", "pixels say little", "not looked for", "left out: 1"):
        assert word in said
    refused = {
        "are the same images": [made, "--real", made, "--out", str(tmp_path / "o2")],
        "lies in": [made, "--real", real, "--out", str(tmp_path / "real" / "o")],
        "too few": [made, "--real", folder(tmp_path / "tiny", images(2, 3)), "--out", str(tmp_path / "o3")],
        "at least 4": [made, "--real", real, "--out", str(tmp_path / "o4"), "--count", "2"],
    }
    for reason, words in refused.items():
        assert main(["evaluate-samples", *words]) == 2
        assert reason in capsys.readouterr().err
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "evaluation.json").write_text("{}")
    assert main(["evaluate-samples", made, "--real", real, "--out", str(tmp_path / "theirs")]) == 2
    assert "not written by nextpatch" in capsys.readouterr().err


def test_features_that_are_none_are_told() -> None:
    with pytest.raises(UserError, match="must be 'images dim'"):
        nextpatch.evaluate_samples(images(0, 8), images(1, 8), features=lambda x: x.float(), quiet=True)
    with pytest.raises(UserError, match="channels"):
        with_channels(torch.zeros(1, 2, 4, 4, dtype=torch.uint8), 3)
