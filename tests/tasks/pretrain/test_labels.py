"""Runs that are told the classes of images: from folders, united by name, dropped by position, bound at resume."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors import safe_open

from corpus import saved
from nextpatch.config import ConfigError
from nextpatch.data.error import DataError
from nextpatch.data.loader import Batch
from nextpatch.dist.ranks import Ranks
from nextpatch.objective.objective import Draws
from nextpatch.objective.registry import objective_of
from nextpatch.runs.recipe import Recipe, binding
from nextpatch.runs.run import RunDir, load_run
from nextpatch.tasks.pretrain.data import open_data
from nextpatch.tasks.pretrain.learner import drawn
from nextpatch.tasks.pretrain.plan import resolve
from nextpatch.tasks.pretrain.run import pretrain
from nextpatch.train.step import draws_of
from ranks import run_ranks

QUIET = Console(quiet=True)


def folder_of(folder: Path, classes: dict[str, int], loose: int = 0) -> str:
    """So many images in a folder for each class, and some beside them."""
    rng = np.random.default_rng(zlib.crc32(folder.name.encode()))
    for name, count in {**classes, "": loose}.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            (folder / name / f"{name}{number:02}.png").write_bytes(saved(pixels, "PNG"))
    return str(folder)


@pytest.fixture
def pets(tmp_path: Path) -> str:
    return folder_of(tmp_path / "pets", {"cat": 8, "dog": 8})


def given(*folders: str, **data: Any) -> dict[str, Any]:
    model = {"size": "nano", "img_size": [8, 8], "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2,
             "head": "flow", "head_width": 16, "head_depth": 1}  # fmt: skip
    train = {"steps": 4, "global_batch_size": 4, "micro_batch_size": 2, "precision": "fp32", "device": "cpu",
             "val_every": 2, "checkpoint_every": 2, "log_every": 1, "threads": 1, "keep_checkpoints": 9}  # fmt: skip
    return {"model": model, "data": {"train": list(folders), "labels": True, "val_images": 4, "workers": 0, **data},
            "train": train}  # fmt: skip


def recipe_on(*folders: str, **data: Any) -> Recipe:
    return resolve(given(*folders, **data)).recipe


def labels_of(recipe: Recipe, steps: int = 8) -> dict[str, str | None]:
    """The class of every image of the first batches, by its name; None where it has none."""
    stream, names = open_data(recipe)[0], recipe.data.classes
    shares = drawn(objective_of(recipe.model), stream, recipe, 0, steps)
    return {
        Path(key).name: None if label < 0 else names[label]
        for batch, _ in shares
        for key, label in zip(batch.keys, batch.labels.tolist(), strict=True)
    }


def test_one_flag_takes_classes_and_their_names_from_the_images(pets: str) -> None:
    found = resolve(given(pets))
    assert (found.recipe.data.classes, found.recipe.model.classes) == (("cat", "dog"), 2)
    assert "model.classes: 2 (the labels of the images: cat, dog)" in found.choices
    assert {name[:3]: label for name, label in labels_of(found.recipe).items()} == {"cat": "cat", "dog": "dog"}


def test_the_share_without_a_label_can_be_given_before_the_labels_are_read(pets: str) -> None:
    values = given(pets)
    values["model"]["label_dropout"] = 0.25
    found = resolve(values).recipe.model
    assert (found.label_dropout, found.classes) == (0.25, 2)


def test_without_the_flag_nothing_is_told_and_earlier_recipes_keep_their_digest(pets: str) -> None:
    recipe = recipe_on(pets, labels=False)
    assert (recipe.data.classes, recipe.model.classes) == ((), 0)
    assert not {"labels", "classes"} & binding(recipe)["data"].keys()
    with pytest.raises(ConfigError, match="--labels"):
        resolve({**given(pets, labels=False), "model": {"head": "flow", "classes": 2}})


def test_images_without_labels_are_refused_where_labels_are_wanted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no labels"):
        resolve(given(folder_of(tmp_path / "loose", {}, 8)))


@pytest.mark.parametrize("weight", ["", "=0.5"])
def test_classes_of_several_sources_unite_by_name(weight: str, pets: str, tmp_path: Path) -> None:
    others = folder_of(tmp_path / "others", {"ape": 6, "dog": 6})
    loose = folder_of(tmp_path / "loose", {}, 6)
    recipe = recipe_on(*(folder + weight for folder in (pets, others, loose)))
    assert recipe.data.classes == ("cat", "dog", "ape")
    found = labels_of(recipe, 16)
    assert {(name[:3], label) for name, label in found.items() if not name[0].isdigit()} == {
        (name, name) for name in ("cat", "dog", "ape")
    }
    assert {label for name, label in found.items() if name[0].isdigit()} == {None}


def test_labels_are_dropped_at_their_rate_by_position_alone(pets: str) -> None:
    recipe = recipe_on(pets)
    objective = objective_of(recipe.model)

    def told(positions: torch.Tensor) -> torch.Tensor:
        count = len(positions)
        images, labels = torch.zeros(count, 3, 8, 8, dtype=torch.uint8), torch.arange(count) % 3 - 1
        return draws_of(objective, 7, Batch(images, positions, labels, [""] * count))["label"]

    label, given_label = told(torch.arange(3000)), torch.arange(3000) % 3 - 1
    dropped = (label == -1) & (given_label >= 0)
    assert 0.08 < dropped.sum() / 2000 < 0.12
    assert torch.equal(label[~dropped], given_label[~dropped])
    assert torch.equal(told(torch.arange(3000))[1500:], label[1500:])


def by_two(pets: str) -> list[list[Any]]:
    """What this rank's images are told of, as [position, label] of each."""
    with Ranks.opened() as world:
        recipe = recipe_on(pets)
        stream = open_data(recipe, world)[0]
        shares = drawn(objective_of(recipe.model), stream, recipe, 4, 6)
        return [
            list(pair)
            for batch, draws in shares
            for pair in zip(batch.positions.tolist(), draws["label"].tolist(), strict=True)
        ]


def test_two_ranks_that_go_on_later_are_told_the_same(pets: str) -> None:
    recipe = recipe_on(pets)
    shares = drawn(objective_of(recipe.model), open_data(recipe)[0], recipe, 0, 7)
    whole = {p: n for b, d in shares for p, n in zip(b.positions.tolist(), d["label"].tolist(), strict=True)}
    both = dict(pair for rank in run_ranks(by_two, 2, pets) for pair in rank)
    assert both == {position: label for position, label in whole.items() if position >= 4}
    assert -1 in both.values()
    assert {0, 1} <= set(both.values())


def test_a_run_knows_its_classes_and_a_validation_is_told_them(
    pets: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    val = folder_of(tmp_path / "val", {"dog": 3, "eel": 3})
    seen: list[int] = []
    objective = type(objective_of(recipe_on(pets).model))
    labelled = objective.labelled

    def watched(self: Any, draws: Draws, labels: torch.Tensor) -> Draws:
        if not torch.is_grad_enabled():  # a validation
            seen.extend(labels.tolist())
        return labelled(self, draws, labels)

    monkeypatch.setattr(objective, "labelled", watched)
    run = pretrain(recipe_on(pets, val=val, val_images=6), tmp_path / "run", False, QUIET).run
    assert set(seen) == {1, -1}, "a dog is what it is in training; an eel is none of its classes"
    assert RunDir.open(run.path).recipe.data.classes == ("cat", "dog")
    with safe_open(run.path / "model.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["labels"]) == ["cat", "dog"]


def test_a_resumed_run_has_the_same_bits_and_refuses_other_labels(pets: str, tmp_path: Path) -> None:
    table = tmp_path / "table"
    table.mkdir()
    files = sorted(Path(pets).rglob("*.png"))
    for file in files:
        shutil.copy(file, table / file.name)
    rows = [f"{file.name},{file.parent.name}" for file in files]
    (table / "labels.csv").write_text("\n".join(["file,label", *rows]) + "\n")
    recipe = recipe_on(str(table / "labels.csv"))
    assert recipe.data.classes == ("cat", "dog")
    whole = pretrain(recipe, tmp_path / "whole", False, QUIET).run
    cut = RunDir(shutil.copytree(whole.path, tmp_path / "cut"), recipe)
    shutil.rmtree(cut.checkpoints / "step_00000004")
    (table / "labels.csv").write_text("\n".join(["file,label", *rows[:-1], f"{files[-1].name},cat"]) + "\n")
    with pytest.raises(ConfigError, match=r"not those that .* began with"):
        pretrain(None, cut.path, True, QUIET)
    (table / "labels.csv").write_text("\n".join(["file,label", *rows]) + "\n")
    pretrain(None, cut.path, True, QUIET)
    ours, theirs = (load_run(path).model.state_dict() for path in (cut.path, whole.path))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
