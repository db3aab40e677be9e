"""Fitting, showing and applying a tokenizer: what is said is true of the file, whatever lies among the images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import nextpatch
from nextpatch.api.tokenizer import plan_for_tokenizer
from nextpatch.core.errors import ConfigError, UserError
from nextpatch.data.decode import decode
from nextpatch.data.preprocessing import AS_OURS
from nextpatch.data.sources.open import open_source
from nextpatch.data.views import eval_view, to_model_input
from nextpatch.runs.recipe import Recipe
from nextpatch.tasks.tokenizer.apply import apply_tokenizer
from nextpatch.tasks.tokenizer.config import ApplyConfig, FitConfig
from nextpatch.tasks.tokenizer.fit import Fitted, fit_tokenizer
from nextpatch.tasks.tokenizer.quality import quality, reconstruction
from nextpatch.tasks.tokenizer.show import facts_in_words, picture
from nextpatch.tokenizer.artifact import read_artifact
from nextpatch.tokenizer.error import TokenizerError


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty images in three channels, and a damaged one."""
    folder = tmp_path_factory.mktemp("photos")
    small = np.random.default_rng(0).integers(0, 255, (120, 6, 6, 3), np.uint8)
    for number, pixels in enumerate(small):
        Image.fromarray(pixels).resize((32, 24), Image.Resampling.BICUBIC).save(folder / f"{number:03}.png")
    (folder / "zz.png").write_bytes(b"\x89PNG no image")
    return folder


def recipe_of(folder: Path, **train: object) -> Recipe:
    above = {"data": {"train": [str(folder)], "val_images": 12}, "train": train, "model": {"patch_size": 4}}
    return plan_for_tokenizer({}, above).recipe


@pytest.fixture(scope="session")
def fitted(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    out = tmp_path_factory.mktemp("fitted") / "t.safetensors"
    return fit_tokenizer(FitConfig(out, codes=32), recipe_of(photos))


def test_what_is_printed_and_kept_is_true_of_the_file(fitted: Fitted) -> None:
    tokenizer = nextpatch.load_tokenizer(fitted)
    shares = tokenizer.frequencies.double()
    assert fitted.quality.used == int((shares > 0).sum()) > 30
    some = shares[shares > 0]
    assert fitted.quality.entropy_bits == pytest.approx(float(-(some * some.log2()).sum()), abs=1e-4)
    assert fitted.quality.perplexity == pytest.approx(2**fitted.quality.entropy_bits)
    assert fitted.quality.error is not None
    assert fitted.quality.guess is not None
    assert fitted.quality.error < 0.8 * fitted.quality.guess
    assert fitted.quality.held_out_images in (11, 12)
    kept = fitted.facts.fitted
    assert (kept["img_size"], kept["images"], kept["skipped"]) == ([24, 32], 109, kept["skipped"])
    assert fitted.digest == tokenizer.digest
    assert f"({fitted.quality.used / 32:.1%})" in str(fitted)
    assert json.loads(fitted.out.with_suffix(".json").read_text())["fitted"] == kept


def test_an_output_that_is_there_is_refused_and_stays(fitted: Fitted, photos: Path, tmp_path: Path) -> None:
    before = fitted.out.read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        fit_tokenizer(FitConfig(fitted.out, codes=8), recipe_of(photos))
    assert fitted.out.read_bytes() == before
    with pytest.raises(UserError, match="whose images it would mix with"):
        fit_tokenizer(FitConfig(photos / "t.safetensors"), recipe_of(photos))
    (tmp_path / "t.json").write_text('{"mine": 1}')
    with pytest.raises(UserError, match="was not written by nextpatch"):
        fit_tokenizer(FitConfig(tmp_path / "t.safetensors"), recipe_of(photos))
    with pytest.raises(ConfigError, match=r"must end in \.safetensors"):
        FitConfig(tmp_path / "t.pt")


def test_nothing_is_left_of_a_fit_that_fails_or_is_interrupted(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TokenizerError, match="give fewer codes"):
        fit_tokenizer(FitConfig(tmp_path / "t.safetensors", codes=100_000), recipe_of(photos))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nextpatch.tokenizer.kmeans_fit.lloyd", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_tokenizer(FitConfig(tmp_path / "t.safetensors", codes=8), recipe_of(photos))
    assert list(tmp_path.iterdir()) == []


def test_images_that_are_held_out_are_not_fitted_on(photos: Path) -> None:
    from nextpatch.data.collection import open_collection
    from nextpatch.tasks.tokenizer.fit import views_of
    from nextpatch.train.heldout import held_out

    recipe = recipe_of(photos)
    train = open_collection(recipe.data.train)
    views = views_of(FitConfig(Path("t.safetensors")), recipe, train)
    seen = set(views.stream.mixture.at(np.arange(views.images)).tolist())
    assert not seen & set(held_out(recipe, train).indices.tolist())
    assert len(seen) == 121 - 12


@pytest.mark.parametrize("ending", [".parquet", ".safetensors"])
def test_codes_of_images_are_those_of_their_evaluation_view(
    ending: str, fitted: Fitted, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / f"codes{ending}"
    done = apply_tokenizer(ApplyConfig(fitted.out, str(photos), out, batch_size=50))
    assert (done.images, done.patches, done.skipped) == (120, 48, 1)
    if ending == ".parquet":
        table = pq.read_table(out)
        keys, codes = table.column("path").to_pylist(), table.column("codes").to_pylist()
    else:
        keys = json.loads((tmp_path / "codes.keys.json").read_text())["keys"]
        codes = load_file(out)["codes"].tolist()
    source, tokenizer = open_source(str(photos)), nextpatch.load_tokenizer(fitted.out)
    for row in (0, 77, 119):
        image = eval_view(decode(source.read(row), 3, AS_OURS), (24, 32))
        expected = tokenizer.encode(to_model_input(image[None], tokenizer.mean, tokenizer.std))[0]
        assert keys[row] == source.key(row)
        assert codes[row] == expected.tolist()
    [skipped] = (tmp_path / "codes.skipped.jsonl").read_text().splitlines()
    assert "zz.png" in skipped


def test_images_of_other_channels_and_sizes_are_refused_with_a_word(
    fitted: Fitted, photos: Path, tmp_path: Path
) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    np.save(deep / "a.npy", np.zeros((24, 32, 7), np.uint8))
    with pytest.raises(UserError, match="7"):
        apply_tokenizer(ApplyConfig(fitted.out, str(deep), tmp_path / "codes.parquet"))
    with pytest.raises(ConfigError, match="do not divide"):
        apply_tokenizer(ApplyConfig(fitted.out, str(photos), tmp_path / "codes.parquet", img_size=(25, 32)))
    with pytest.raises(ConfigError, match="must end in"):
        ApplyConfig(fitted.out, str(photos), tmp_path / "codes.csv")


def test_the_picture_has_the_codes_and_the_images(fitted: Fitted, photos: Path) -> None:
    artifact, tokenizer = read_artifact(fitted.out), nextpatch.load_tokenizer(fitted)
    alone, both = picture(tokenizer, artifact.facts), picture(tokenizer, artifact.facts, str(photos), images=4)
    assert both.height > alone.height
    most = int(tokenizer.frequencies.argmax())
    tile = tokenizer.decode(torch.tensor([[most]]), (1, 1))[0] * 0.225 + 0.45
    corner = np.asarray(alone)[32 + 60 + 12 + 2, 32 + 2] / 255
    assert np.abs(corner - tile[:, 0, 0].clamp(0, 1).numpy()).max() < 0.1
    words = facts_in_words(artifact.facts, tokenizer)
    assert fitted.digest in words
    assert "4 x 4 px, channels: 3" in words


def test_what_codes_leave_out_is_put_back(photos: Path, tmp_path: Path) -> None:
    made = nextpatch.fit_tokenizer(
        str(photos), tmp_path / "n.safetensors", codes=32, norm=True, patch_size=4, quiet=True
    )
    tokenizer = nextpatch.load_tokenizer(made)
    assert made.left_out == "mean and variance"
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    again = reconstruction(tokenizer, images)
    brighter = reconstruction(tokenizer, images * 2 + 1)
    assert torch.allclose(brighter, again * 2 + 1, atol=1e-3)
    assert quality(tokenizer, []).error is None


def test_python_takes_values_of_the_kind_and_of_the_recipe(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no value 'patchsize'.*did you mean 'patch_size'"):
        nextpatch.fit_tokenizer(str(photos), tmp_path / "t.safetensors", patchsize=4)
    with pytest.raises(ConfigError, match="norm is a value of kmeans"):
        replace(FitConfig(tmp_path / "t.safetensors"), kind="codebook", norm=True)
