"""Plans: what is shared, what is equal, and what is refused before anything is trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nextpatch.core.errors import ConfigError
from nextpatch.dist.materialize import materialize
from nextpatch.runs.recipe import Recipe
from nextpatch.study.plan import check_measurements, flags_of, recipes_of, runs_of
from nextpatch.tasks.pretrain.data import open_data
from studies_made import SMALL, small

PROBE = {"data": "demo:test", "probes": ["linear"]}
CAUSAL = {"model": {"attention": "causal"}}


def planned(study: Any) -> dict[str, Recipe]:
    return recipes_of(study, 1, {}, {})


def test_variants_that_differ_only_in_how_they_are_measured_share_a_run() -> None:
    """Table 3d: two trainings, four rows."""
    table_3d = {
        "causal-causal": {**CAUSAL, "probe": {"layers": ["0"]}},
        "causal-bidirectional": CAUSAL,
        "prefix-causal": {"probe": {"layers": ["0"]}},
        "prefix-bidirectional": {},
    }
    study = small(variants=table_3d, probe=PROBE, claims=[])
    runs = runs_of(study, planned(study), {})
    assert len(runs) == 8
    assert len({run.folder for run in runs.values()}) == 2 * 2
    for name in ("causal", "prefix"):
        one, other = runs[f"{name}-causal", 1], runs[f"{name}-bidirectional", 1]
        assert one == other
        assert [m.values.get("layers") for m in one.measurements] == [["0"], None]
    assert runs["causal-causal", 0].folder.startswith("causal-causal-s0-")  # the first that asks for it


def test_a_run_is_the_same_in_every_study_that_asks_for_it() -> None:
    one = small()
    other = small(variants={"first": {"model": {"order": "random"}}, "second": {}}, title="Other", claims=[])
    ours, theirs = runs_of(one, planned(one), {}), runs_of(other, planned(other), {})
    assert ours["random", 0].digest == theirs["first", 0].digest
    assert ours["random", 0].digest != ours["raster", 0].digest != ours["raster", 1].digest


def test_seeds_come_before_variants_so_that_comparisons_are_whole_early() -> None:
    study = small()
    assert list(runs_of(study, planned(study), {})) == [
        ("raster", 0), ("random", 0), ("raster", 1), ("random", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [{"train": {"steps": 4}}, {"train": {"global_batch_size": 4}}, {"data": {"val_images": 8}},
     {"data": {"train": ["demo:train"]}}],
)  # fmt: skip
def test_other_images_or_more_of_them_need_a_reason(values: dict[str, Any]) -> None:
    variants, ((table, (key, *_)),) = {"raster": {}, "longer": values}, [(t, list(v)) for t, v in values.items()]
    with pytest.raises(ConfigError, match=f"do not see the same images.*{table}.{key}"):
        planned(small(variants=variants, claims=[]))
    assert planned(small(variants=variants, claims=[], equal="the length is what is compared"))


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ({"model": {"ordr": "random"}}, "variant 'odd': .*'model.ordr'; did you mean 'order'"),
        ({"model": {"order": "rand"}}, "variant 'odd': .*random"),
        ({"model": {"patch_size": 9}}, "variant 'odd': .*not a multiple"),
        ({"train": {"minutes": 3.0}}, "variant 'odd': train.minutes are other steps on every machine"),
    ],
)
def test_a_wrong_value_is_named_with_its_variant(variant: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        planned(small(variants={"raster": {}, "odd": variant}, claims=[]))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"probe": {**PROBE, "layer": ["0"]}}, "did you mean 'layers'"),
        ({"probe": {**PROBE, "seed": 3}}, "seed is for the study to say"),
        ({"probe": {**PROBE, "data": "nowhere"}}, "nowhere"),
        ({"probe": {**PROBE, "test": "demo:test"}}, "a test on the training images says nothing"),
        ({"finetune": {"data": "demo:test", "full": True, "rank": 4}}, "rank apply to adapters only"),
    ],
)
def test_a_wrong_measurement_is_named_before_anything_is_trained(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_measurements(small(**changed))


def test_checkpoints_that_are_measured_are_kept() -> None:
    recipe = {**SMALL["recipe"], "train": {**SMALL["recipe"]["train"], "steps": 12}}
    del recipe["train"]["checkpoint_every"]
    study = small(recipe=recipe, probe=PROBE, checkpoints=[4, 6])
    train = planned(study)["raster"].train
    assert (train.keep_every, train.checkpoint_every) == (2, 2)
    runs = runs_of(study, planned(study), {})
    assert [one.values["step"] for one in runs["raster", 0].measurements] == [-1, 4, 6]
    with pytest.raises(ConfigError, match="none of step 5 is kept"):
        planned(small(probe=PROBE, checkpoints=[5]))


def test_values_become_flags() -> None:
    values = {"data": "d", "batch_size": 8, "lrs": [1e-3, 2e-3], "full": True, "augment": False}
    words = ("--data", "d", "--batch-size", "8", "--lrs", "0.001", "0.002", "--full", "--no-augment")
    assert flags_of(values) == words


def test_variants_of_a_seed_see_the_same_images_cropped_alike_and_start_alike() -> None:
    """What is paired: positions give images, crops and prefixes by the seed alone, whatever the model."""
    study = small(variants={"narrow": {"model": {"head_width": 16}}, "wide": {}, "random": SMALL["variants"]["random"]},
                  claims=[])  # fmt: skip
    runs = runs_of(study, planned(study), {})
    narrow, wide, random = (runs[name, 1].recipe for name in ("narrow", "wide", "random"))
    views = [open_data(recipe)[0].batch_at(16, 8) for recipe in (narrow, wide, random)]
    for other in views[1:]:
        assert views[0].keys == other.keys
        assert torch.equal(views[0].images, other.images)
    assert not torch.equal(views[0].images, open_data(runs["narrow", 0].recipe)[0].batch_at(16, 8).images)
    starts = [materialize(recipe.model, recipe.train.seed).state_dict() for recipe in (narrow, wide, random)]
    assert all(torch.equal(starts[1][name], starts[2][name]) for name in starts[1] if "position" not in name)
    trunk = [name for name in starts[0] if name.startswith(("patch_embed", "trunk"))]
    assert trunk
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in trunk)
    assert not torch.equal(starts[0][trunk[0]], materialize(runs["narrow", 0].recipe.model, 0).state_dict()[trunk[0]])
