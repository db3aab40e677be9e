"""Runs that learn to generate: two ranks as one, resumed to the last bit, measured first, begun from other weights."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import nextpatch
from corpus import saved
from nextpatch.data.config import DataConfig
from nextpatch.dist.config import EngineConfig
from nextpatch.dist.ranks import Ranks
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.denoising import DenoisingHead
from nextpatch.runs.config import OptimConfig, TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir, load_run
from nextpatch.tasks.pretrain.run import pretrain
from nextpatch.tasks.pretrain.warm_start import begin_from, shaped_by_weights
from nextpatch.tasks.publish.card import card
from nextpatch.tasks.publish.graph import to_torch_export
from nextpatch.tasks.publish.timm import to_timm
from nextpatch.weights.error import WeightsError
from nextpatch.weights.snapshot import save_snapshot
from ranks import run_ranks

QUIET = Console(quiet=True)
KINDS: dict[str, dict[str, Any]] = {
    "flow": {"head": "flow", "order": "any"},
    "diffusion": {"head": "diffusion", "attention": "causal"},
    "density": {"head": "density", "order": "any", "attention": "causal"},
    "enlarging": {"head": "flow", "attention": "causal", "upscale": 2},
    "pixels": {"objective": "generate", "target": "pixels", "head": "transformer"},
    "flow beside the paper's head": {"head": "flow", "paper_loss": 0.5},
}


def recipe_on(folder: str, **values: Any) -> Recipe:
    sizes = {"embed_dim": 16, "depth": 2, "num_heads": 2, "head_width": 16, "head_depth": 2}
    train = TrainConfig(
        6, global_batch_size=4, micro_batch_size=1, precision="fp32", device="cpu", val_every=3, checkpoint_every=3,
        log_every=1, threads=1,
    )  # fmt: skip
    model = ModelConfig("nano", (8, 12), 4, 3, **{**sizes, **values})
    return Recipe(model, DataConfig(train=(folder,), val_images=4, workers=0), OptimConfig(lr=3e-3), train)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(20):
        (folder / f"{number:02}.png").write_bytes(saved(rng.integers(0, 256, (10, 14, 3), np.uint8), "PNG"))
    return str(folder)


def by_two(photos: str, out: str) -> list[int]:
    """Sharded (FSDP2) and in copies."""
    ended = []
    with Ranks.opened() as world:
        for kind, values in KINDS.items():
            for name, engine in (("sharded", EngineConfig(shard=2)), ("copies", EngineConfig(replicate=2, shard=1))):
                recipe = replace(recipe_on(photos, **values), engine=engine)
                ended.append(pretrain(recipe, Path(f"{out}/{kind}-{name}"), False, QUIET, world).exit_code)
    return ended


def losses(path: Path) -> list[float]:
    return [entry["loss"] for entry in RunDir.open(path).read_metrics() if entry["kind"] in ("train", "val")]


def test_two_ranks_get_the_losses_of_one(photos: str, tmp_path: Path) -> None:
    assert run_ranks(by_two, 2, photos, str(tmp_path)) == [[0] * 2 * len(KINDS)] * 2
    for kind, values in KINDS.items():
        pretrain(recipe_on(photos, **values), tmp_path / kind, False, QUIET)
        for name in ("sharded", "copies"):
            assert losses(tmp_path / f"{kind}-{name}") == pytest.approx(losses(tmp_path / kind), rel=1e-5)


HALF = ("diffusion", "density", "flow beside the paper's head")  # kinds that are resumed in bfloat16


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_with_the_same_bits(kind: str, photos: str, tmp_path: Path) -> None:
    """Of its averages, too, and with the same noise."""
    recipe, precision = recipe_on(photos, **KINDS[kind]), "bf16" if kind in HALF else "fp32"
    recipe = replace(recipe, train=replace(recipe.train, precision=precision, ema_half_life=8.0))
    pretrain(recipe, tmp_path / "whole", False, QUIET)
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    run = RunDir.open(tmp_path / "resumed")
    for late in run.checkpoints.glob("step_*6"):
        for file in sorted(late.rglob("*"), reverse=True):
            file.unlink()
        late.rmdir()
    assert load_run(run.path).step == 3
    pretrain(None, run.path, True, QUIET)
    raw, averages = [], []
    for found, is_raw in ((raw, True), (averages, False)):
        found += [load_run(tmp_path / name, raw=is_raw).model.state_dict() for name in ("resumed", "whole")]
        assert "start.token" in found[0]
        assert all(torch.equal(found[0][name], found[1][name]) for name in found[1])
    assert not torch.equal(raw[0]["start.token"], averages[0]["start.token"])
    assert losses(run.path)[-2:] == losses(tmp_path / "whole")[-2:]


def test_patches_are_measured_before_the_first_step_and_begun_weights_keep_their_own(
    photos: str, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    pretrain(recipe_on(photos, head="flow"), first, False, QUIET)
    head = load_run(first).model.head
    assert isinstance(head, DenoisingHead)
    assert float(head.standard.scale.min()) > 0
    assert float(head.standard.scale.max()) != 1
    assert float(head.standard.low.min()) > -10
    begun = recipe_on(photos, head="flow")
    given = replace(begun, data=replace(begun.data, mean=(0.1,) * 3, std=(0.9,) * 3))
    pretrain(replace(given, train=replace(given.train, init=str(first))), second, False, QUIET)
    kept = load_run(second).model.head
    assert isinstance(kept, DenoisingHead)
    assert torch.equal(kept.standard.center, head.standard.center)


def test_a_trunk_that_learned_something_else_begins_a_run_that_generates(photos: str, tmp_path: Path) -> None:
    pretrain(recipe_on(photos), tmp_path / "paper", False, QUIET)
    init = str(tmp_path / "paper")
    given, said = shaped_by_weights({"model": {"head": "flow"}, "train": {"init": init}})
    assert "its pixel head begins at random: it has another" in said[0]
    assert (given["model"]["embed_dim"], given["model"]["head"]) == (16, "flow")
    model = AIM(recipe_on(photos, head="flow").model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    begin_from(model, init)
    theirs = load_run(tmp_path / "paper").model.state_dict()
    for name, tensor in model.state_dict().items():
        if name.startswith(("head.", "start.")):
            assert torch.equal(tensor.isnan(), before[name].isnan())
            assert torch.equal(tensor.nan_to_num(), before[name].nan_to_num())
        else:
            assert torch.equal(tensor, theirs[name])
    assert begin_from(model, init) == ["the start token", "the head"]
    labelled = AIM(recipe_on(photos, head="flow", order="any", classes=3).model)
    new = ["the start token", "the embedding of the classes", "the map of the place that comes next", "the head"]
    assert begin_from(labelled, init) == new


def test_both_heads_are_measured_exported_and_begin_where_the_paper_ended(photos: str, tmp_path: Path) -> None:
    both = recipe_on(photos, head="flow", paper_loss=0.5)
    pretrain(both, tmp_path / "run", False, QUIET)
    entry = [entry for entry in RunDir.open(tmp_path / "run").read_metrics() if entry["kind"] == "val"][-1]
    assert entry["loss"] == pytest.approx(entry["distribution_loss"] + 0.5 * entry["paper_loss"])
    loaded = nextpatch.load(tmp_path / "run" / "model.safetensors")
    (tmp_path / "folder").mkdir()
    save_snapshot(loaded, tmp_path / "folder")
    ours, theirs = loaded.aim.state_dict(), nextpatch.load(tmp_path / "folder").aim.state_dict()
    assert {"head.proj.weight", "paper_head.proj.weight"} <= theirs.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    assert len(nextpatch.sample(tmp_path / "run", 2, steps=2)) == 2
    pretrain(recipe_on(photos), tmp_path / "paper", False, QUIET)
    model = AIM(both.model)
    assert begin_from(model, str(tmp_path / "paper")) == ["the start token", "the head"]
    head = load_run(tmp_path / "paper").model.head.state_dict()
    assert model.paper_head is not None
    assert all(torch.equal(model.paper_head.state_dict()[name], tensor) for name, tensor in head.items())


def test_weights_travel_with_start_token_head_and_scales(photos: str, tmp_path: Path) -> None:
    pretrain(recipe_on(photos, head="flow", order="any", upscale=2), tmp_path / "run", False, QUIET)
    loaded = nextpatch.load(tmp_path / "run")
    images = torch.randn(2, 3, 8, 12)
    wanted = loaded.features(images, ["block_1"])["block_1"]
    assert wanted.shape == (2, 6, 16)
    (tmp_path / "folder").mkdir()
    save_snapshot(loaded, tmp_path / "folder")
    again = nextpatch.load(tmp_path / "folder")
    torch.testing.assert_close(again.features(images, ["block_1"])["block_1"], wanted)
    ours, theirs = loaded.aim.state_dict(), again.aim.state_dict()
    assert {
        "start.token",
        "start.next_place.weight",
        "head.standard.scale",
        "start.low_res.to_token.weight",
    } <= theirs.keys()
    assert theirs["start.low_res.deviation"].tolist() == pytest.approx(loaded.about.std), (
        "measured before the first step"
    )
    assert again.about.upscale == loaded.about.upscale == 2
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    assert again.aim.cfg == loaded.aim.cfg
    alone = nextpatch.load(tmp_path / "run" / "model.safetensors", img_size=(12, 12))
    assert alone.features(torch.randn(2, 3, 12, 12), ["block_1"])["block_1"].shape == (2, 9, 16)
    assert to_torch_export(loaded, tmp_path / "graph.pt2", "patches") < 1e-5  # for any number of images
    assert "is a distribution over the next patch" in card(loaded, "me/photos", tmp_path / "run")
    with pytest.raises(WeightsError, match="behind a start token"):
        to_timm(loaded, tmp_path / "timm.safetensors")
