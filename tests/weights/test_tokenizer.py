"""Weights that predict codes: features need no tokenizer, predictions find it beside them or are told where it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import nextpatch
from nextpatch.model.config import ModelConfig
from nextpatch.objective.registry import objective_of
from nextpatch.runs.export import export_model
from nextpatch.runs.run import RunDir
from nextpatch.tasks.publish.card import card
from nextpatch.tasks.publish.hub import write_for_hub
from nextpatch.tokenizer.artifact import write_artifact
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.error import WeightsError
from nextpatch.weights.load import load
from tokenizers_made import kmeans

PIXELS = np.random.default_rng(0).integers(0, 255, (24, 16, 16, 3), np.uint8)
OF_MODEL = ModelConfig(img_size=(16, 16), patch_size=4, in_chans=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codes")
    write_artifact(folder / "given.safetensors", kmeans(OF_MODEL, norm=True))
    made = nextpatch.pretrain(
        PIXELS, folder / "run", model="nano", steps=2, target="tokens", tokenizer=folder / "given.safetensors",
        report=False, quiet=True, sinks=(),
    )  # fmt: skip
    (folder / "given.safetensors").unlink()
    return made.run


def predicted(backbone: Backbone) -> torch.Tensor:
    """Completed images."""
    objective, model = objective_of(backbone.aim.cfg), backbone.aim
    return objective.complete(model, torch.zeros(2, 3, 16, 16), objective.showcase(2))


def test_a_run_its_export_and_a_folder_for_the_hub_find_the_tokenizer(run: Path, tmp_path: Path) -> None:
    wanted = predicted(load(run))
    export_model(RunDir.open(run))
    assert str(run) not in (run / "model.safetensors").read_bytes()[:4000].decode("latin-1")  # no places of ours
    write_for_hub(str(run), "me/codes", tmp_path / "hub")
    assert {"tokenizer.safetensors", "tokenizer.json", "pixel_head.safetensors"} <= {
        path.name for path in (tmp_path / "hub").iterdir()
    }
    for place in (run / "model.safetensors", tmp_path / "hub"):
        torch.testing.assert_close(predicted(load(place)), wanted)


def test_without_it_features_are_there_and_a_prediction_says_what_is_missing(run: Path, tmp_path: Path) -> None:
    alone = export_model(RunDir.open(run), tmp_path / "alone.safetensors")
    found = load(alone)
    torch.testing.assert_close(found.embed(PIXELS[0]), load(run).embed(PIXELS[0]))
    with pytest.raises(TokenizerError, match=r"is not with its weights; give it too: WEIGHTS\+tokenizer.safetensors"):
        predicted(found)
    shutil.copy(run / "tokenizer.safetensors", tmp_path / "codes.safetensors")
    given = load(f"{alone}+{tmp_path / 'codes.safetensors'}")
    torch.testing.assert_close(predicted(given), predicted(load(run)))
    write_artifact(tmp_path / "other.safetensors", kmeans(OF_MODEL))
    with pytest.raises(TokenizerError, match="another tokenizer than the model was trained with"):
        load(f"{alone}+{tmp_path / 'other.safetensors'}")


def test_weights_that_predict_pixels_take_no_tokenizer(run: Path, tmp_path: Path) -> None:
    pixels = nextpatch.pretrain(
        PIXELS, tmp_path / "pixels", model="nano", steps=1, report=False, quiet=True, sinks=()
    ).run
    with pytest.raises(WeightsError, match="predicts norm_pixels, no codes; leave"):
        load(f"{pixels}+{run / 'tokenizer.safetensors'}")


def test_the_card_tells_target_and_tokenizer(run: Path) -> None:
    text = card(load(run), "me/codes", run)
    assert "which of 7 codes it has, by the tokenizer in `tokenizer.safetensors`" in text
    assert "- objective: next_patch, prefix attention, raster order, target tokens (7 codes), head mlp" in text
    assert "- SHA-256 of the tokenizer: " in text
    assert "(mean nats of tokens)" in text


def test_a_run_begins_with_weights_that_predict_codes_and_their_tokenizer(run: Path, tmp_path: Path) -> None:
    further = nextpatch.pretrain(
        PIXELS, tmp_path / "further", init=run, steps=1, report=False, quiet=True, sinks=()
    ).recipe.model
    assert (further.target, further.codes, further.tokenizer) == (
        "tokens", 7, str(tmp_path / "further" / "tokenizer.safetensors"),
    )  # fmt: skip


def test_a_head_of_codes_is_fitted_to_a_trunk_and_goes_with_its_tokenizer(run: Path, tmp_path: Path) -> None:
    trunk = tmp_path / "trunk"
    write_for_hub(str(run), "me/codes", trunk)
    for name in ("pixel_head.safetensors", "tokenizer.safetensors", "tokenizer.json"):
        (trunk / name).unlink()
    fitted = nextpatch.pretrain(
        PIXELS, tmp_path / "head", init=trunk, freeze_trunk=True, steps=1, report=False, quiet=True, sinks=(),
        target="tokens", tokenizer=run / "tokenizer.safetensors",
    ).run  # fmt: skip
    both = load(f"{trunk}+{fitted / 'pixel_head.safetensors'}")
    assert predicted(both).shape == (2, 3, 16, 16)
