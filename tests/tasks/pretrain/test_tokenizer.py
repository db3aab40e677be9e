"""A run that predicts codes: planned by its tokenizer, which it keeps a copy of and goes on with."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from nextpatch.config import ConfigError, to_dict
from nextpatch.core.text import format_flops
from nextpatch.dist.ranks import Ranks
from nextpatch.model.config import ModelConfig
from nextpatch.objective.registry import objective_of
from nextpatch.runs.checkpoint import newest_checkpoint
from nextpatch.runs.given import read_recipe
from nextpatch.runs.recipe import binding, recipe_from_dict
from nextpatch.runs.run import RunDir, load_run
from nextpatch.tasks.pretrain.plan import resolve
from nextpatch.tasks.pretrain.run import pretrain
from nextpatch.tokenizer.artifact import write_artifact
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.tokenizer.tokenizer import open_tokenizer
from ranks import run_ranks
from tokenizers_made import kmeans

SHAPE = {"size": "nano", "embed_dim": 16, "depth": 2, "num_heads": 2, "head_width": 16, "head_depth": 1}
TRAIN = {"steps": 4, "global_batch_size": 4, "precision": "fp32", "device": "cpu", "val_every": 2,
         "checkpoint_every": 2, "log_every": 1, "sinks": []}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (15, 17, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """Of patches of 4 px in three channels, with statistics of its own."""
    path = tmp_path / "given" / "codes.safetensors"
    write_artifact(path, kmeans(ModelConfig(img_size=(8, 8), patch_size=4, in_chans=3)))
    return path


@pytest.fixture
def given(photos: Path, tokenizer: Path) -> Any:
    def values(**model: Any) -> dict[str, Any]:
        return {
            "model": {**SHAPE, "target": "tokens", "tokenizer": str(tokenizer), **model},
            "data": {"train": [str(photos)], "val_images": 3, "workers": 0}, "train": dict(TRAIN),
            "optim": {"warmup_steps": 1},
        }  # fmt: skip

    return values


def run_quietly(*args: Any, **kwargs: Any) -> RunDir:
    return pretrain(*args, console=Console(quiet=True), **kwargs).run


def weights(run: RunDir) -> dict[str, torch.Tensor]:
    found = newest_checkpoint(run.checkpoints)
    assert found is not None
    return found.tensors("model")


def test_what_is_open_is_the_tokenizers_and_said_with_the_reason(given: Any, tokenizer: Path) -> None:
    recipe, choices = resolve(given())
    model, opened = recipe.model, open_tokenizer(tokenizer)
    assert (model.patch_size, model.in_chans, model.codes, model.tokenizer_sha256) == (4, 3, 7, opened.digest)
    assert (recipe.data.mean, recipe.data.std) == ((0.5,) * 3, (0.25,) * 3)
    said = "\n".join(choices)
    assert f"model.patch_size: 4 (of the tokenizer {tokenizer})" in said
    assert f"data.mean: 0.5 0.5 0.5 (of the tokenizer {tokenizer})" in said
    assert f"and {format_flops(objective_of(model).mean_scored * 2 * 7 * 48)} for its codes (float32)" in said
    assert resolve(given(patch_size=4, codes=7, tokenizer_sha256=opened.digest)).recipe == recipe


@pytest.mark.parametrize(
    ("model", "data", "reason"),
    [
        ({"tokenizer": ""}, {}, r"needs a tokenizer: --model.tokenizer FILE; fit one with: nextpatch tokenizer fit"),
        ({"patch_size": 2}, {}, "model.patch_size 2 is not that of the tokenizer .*, 4; leave it out"),
        ({"in_chans": 1}, {}, "model.in_chans 1 is not that of the tokenizer .*, 3; leave it out"),
        ({"codes": 8}, {}, "model.codes 8 is not that of the tokenizer"),
        ({"tokenizer_sha256": "0" * 64}, {}, "tokenizer_sha256 0000.* give the tokenizer that has it"),
        ({}, {"mean": [0.4, 0.5, 0.5], "std": [0.25] * 3}, "data.mean 0.4 0.5 0.5 is not that of the tokenizer"),
        ({"target": "pixels"}, {}, "tokenizer is for model.target tokens"),
        ({"tokenizer": "gone.safetensors"}, {}, "gone.safetensors does not exist; fit one"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_made(
    model: dict[str, Any], data: dict[str, Any], reason: str, given: Any
) -> None:
    values = given(**model)
    values["data"] |= data
    with pytest.raises((ConfigError, TokenizerError), match=reason):
        resolve(values)


def test_a_damaged_tokenizer_is_refused(given: Any, tokenizer: Path) -> None:
    whole = bytearray(tokenizer.read_bytes())
    whole[-3] ^= 1
    tokenizer.write_bytes(bytes(whole))
    with pytest.raises(TokenizerError, match=r"codes.safetensors cannot be read as a tokenizer .*damaged"):
        resolve(given())


def test_a_run_keeps_its_own_copy_can_be_moved_and_repeated(given: Any, tokenizer: Path, tmp_path: Path) -> None:
    recipe, digest = resolve(given()).recipe, open_tokenizer(tokenizer).digest
    run = run_quietly(recipe, tmp_path / "run")
    shutil.rmtree(tokenizer.parent)
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    run.path.rename(moved)
    again = RunDir.open(moved)
    assert again.recipe.model == replace(recipe.model, tokenizer=str(moved / "tokenizer.safetensors"))
    assert 'tokenizer = "tokenizer.safetensors"' in (moved / "recipe.toml").read_text()
    assert (moved / "tokenizer.json").exists()
    assert open_tokenizer(moved).digest == digest == load_run(moved).model.cfg.tokenizer_sha256
    repeated = resolve(read_recipe(str(moved))).recipe
    assert binding(repeated) == binding(recipe)
    assert weights(run_quietly(repeated, tmp_path / "again")).keys() == weights(again).keys()
    for name, tensor in weights(again).items():
        assert torch.equal(weights(RunDir.open(tmp_path / "again"))[name], tensor)


def test_a_run_goes_on_to_the_same_weights_and_with_no_other_tokenizer(
    given: Any, tokenizer: Path, tmp_path: Path, photos: Path
) -> None:
    recipe = resolve(given()).recipe
    whole = run_quietly(recipe, tmp_path / "whole")
    run = run_quietly(recipe, tmp_path / "cut")
    shutil.rmtree(run.checkpoints / "step_00000004")
    own, kept = run.path / "tokenizer.safetensors", (run.path / "tokenizer.safetensors").read_bytes()
    other = kmeans(ModelConfig(img_size=(8, 8), patch_size=4, in_chans=3), norm=True)
    write_artifact(own, other)
    with pytest.raises(TokenizerError, match="another tokenizer than the model was trained with"):
        run_quietly(None, run.path, resume=True)
    own.unlink()
    with pytest.raises(TokenizerError, match="does not exist"):
        run_quietly(None, run.path, resume=True)
    own.write_bytes(kept)
    write_artifact(tmp_path / "other.safetensors", other)
    stated = replace(recipe, model=replace(recipe.model, tokenizer=str(tmp_path / "other.safetensors")))
    with pytest.raises(ConfigError, match=r"was begun with another tokenizer than .*other\.safetensors"):
        run_quietly(stated, run.path, resume=True)
    gone_on = run_quietly(recipe, run.path, resume=True)  # which names the file that it was begun with
    assert gone_on.recipe.model.tokenizer == str(own)
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(gone_on)[name], tensor)


def test_a_folder_that_holds_nothing_but_the_tokenizer_can_become_the_run(given: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    write_artifact(out / "tokenizer.safetensors", kmeans(ModelConfig(img_size=(8, 8), patch_size=4, in_chans=3)))
    recipe = resolve(given(tokenizer=str(out / "tokenizer.safetensors"))).recipe
    assert run_quietly(recipe, out).recipe.model.tokenizer == str(out / "tokenizer.safetensors")


def by_two(out: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """A run whose parameters are spread over both ranks, two images at a time."""
    with Ranks.opened() as ranks:
        recipe = recipe_from_dict(values)
        run = pretrain(recipe, Path(out), console=Console(quiet=True), ranks=ranks).run
        return run.read_metrics()


def test_two_ranks_that_share_the_model_learn_what_one_does(given: Any, tmp_path: Path) -> None:
    recipe = resolve(given()).recipe
    alone = run_quietly(recipe, tmp_path / "alone").read_metrics()
    spread = replace(
        recipe, train=replace(recipe.train, micro_batch_size=1), engine=replace(recipe.engine, replicate=1, shard=2)
    )
    together = run_ranks(by_two, 2, str(tmp_path / "two"), to_dict(spread))[0]
    names = {"train": ("loss", "grad_norm"), "val": ("loss", "perplexity", "accuracy")}
    assert [entry["kind"] for entry in together] == [entry["kind"] for entry in alone]
    for ours, theirs in zip(together, alone, strict=True):
        for name in names[ours["kind"]]:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4), (ours["step"], name)
