"""Every shipped study loads, its variants can be built and compared, and its figures of the paper are the paper's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nextpatch.config import from_dict
from nextpatch.model.aim import AIM
from nextpatch.model.count import count_params
from nextpatch.runs.given import laid_over, recipe_path
from nextpatch.runs.recipe import Recipe, load_recipe, recipe_from_dict
from nextpatch.study.config import StudyConfig, Variant
from nextpatch.study.plan import check_measurements, recipes_of, run_digest, run_flops
from nextpatch.study.reading import SHIPPED, read_study
from nextpatch.tasks.finetune.config import FinetuneConfig
from nextpatch.tasks.plan.budget import budget
from nextpatch.tasks.plan.config import PlanConfig
from nextpatch.tasks.plan.gpus import GPUS
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tokenizer.config import FitOptions

NAMES = sorted(path.relative_to(SHIPPED).with_suffix("").as_posix() for path in SHIPPED.rglob("*.toml"))
STUDIES = [name for name in NAMES if not name.startswith("base/")]
LAPTOP = [name for name in STUDIES if "/" not in name]
PAPER = [name for name in STUDIES if name.startswith("paper/")]
TABLES = {  # (linear, attentive) as printed, in the order of the columns
    "table2": [(None, 73.5), (None, 74.5), (None, 75.6)],
    "table3a": [(67.5, 76.2), (70.0, 78.2), (66.6, 75.9), (64.0, 74.5)],
    "table3b": [(69.5, 77.4), (67.7, 76.3), (68.2, 76.0), (65.8, 75.7)],
    "table3c": [(68.4, 77.7), (70.0, 78.2), (49.6, 63.5)],
    "table3d": [(69.5, 77.4), (30.9, 52.3), (68.4, 76.9), (70.0, 78.2)],
    "table3e": [(64.0, 75.4), (70.0, 78.2), (70.5, 78.5)],
    "table3f": [(68.8, 77.9), (70.0, 78.2)],
    "table4a": [(69.4, 77.7), (69.6, 78.1), (70.0, 78.2)],
    "table4b": [(65.3, 76.2), (68.1, 77.1), (70.0, 78.2)],
    "table5": [(None, 78.2), (None, 70.3), (None, 77.8)],
    "paper/table7": [(None, t) for t in (78.5, 79.4, 80.6, 82.3, 82.2, 83.3, 82.4, 84.0)],
}
WANTED = {f"table{n}" for n in ("2", "3a", "3b", "3c", "3d", "3e", "3f", "4a", "4b", "5", "7", "8")}
WANTED |= {f"figure{n}" for n in (4, 5, 6, 7, 9, 10)} | {"scaling"}


def study(name: str) -> StudyConfig:
    return read_study(SHIPPED / f"{name}.toml")


def recipe_of(of: StudyConfig, variant: Variant) -> Recipe:
    """As it would be trained, with as many codes as its tokenizer has."""
    values = laid_over(of.recipe, variant.values)
    if variant.tokenizer:
        options = from_dict(FitOptions, of.tokenizers[variant.tokenizer], variant.tokenizer)
        values = laid_over(values, {"model": {"target": "tokens", "codes": options.codes}})
    return recipe_from_dict(values)


def trainings(of: StudyConfig) -> dict[str, Recipe]:
    """Those of one seed, each once."""
    return {run_digest(found := recipe_of(of, variant)) + variant.tokenizer: found for variant in of.variants}


def cost(of: StudyConfig) -> str:
    """What the header of a file of the paper's size says, by the formula of `nextpatch plan`."""
    once = list(trainings(of).values())
    flops = sum(map(run_flops, once)) * len(of.seeds)
    hours = flops / (GPUS["h100"].tflops * 1e12 * 0.4) / 3600
    runs = f"{len(once)} training{'s' if len(once) > 1 else ''} x {len(of.seeds)} seeds"
    return f"{runs}: {flops:.2e} FLOP, about {hours:,.0f} hours of an H100 at 40 % of its peak; probes not counted"


def test_every_table_and_figure_is_there_in_both_sizes() -> None:
    assert set(LAPTOP) == WANTED
    assert {name.removeprefix("paper/") for name in PAPER} == WANTED


@pytest.mark.parametrize("name", STUDIES)
def test_every_variant_can_be_built_and_measured(name: str) -> None:
    of = study(name)
    for variant in of.variants:
        recipe = recipe_of(of, variant)
        with torch.device("meta"):
            AIM(recipe.model)
        assert recipe.data.train
        for kind, values in ((ProbeConfig, of.probe_of(variant)), (FinetuneConfig, of.finetune_of(variant))):
            if values:
                from_dict(kind, {"weights": "run", "out": "out", **values})
    assert of.source
    assert of.asks
    assert of.drawings or of.claims


@pytest.mark.parametrize("name", PAPER)
def test_studies_of_the_papers_size_plan_and_say_what_they_cost(name: str) -> None:
    of = study(name)
    for recipe in trainings(of).values():
        plan = PlanConfig(
            recipe.model, GPUS["h100"], gpus=64, global_batch_size=recipe.train.global_batch_size,
            steps=recipe.train.steps,
        )  # fmt: skip
        assert budget(plan).choice is not None
    assert f"# cost     {cost(of)}\n" in (SHIPPED / f"{name}.toml").read_text()


@pytest.mark.parametrize("name", LAPTOP)
def test_studies_of_laptop_size_plan_on_the_shipped_images(name: str) -> None:
    of = study(name)
    missing = {tokenizer: Path("none") for tokenizer in of.tokenizers}
    recipes = recipes_of(of, 1, {}, missing)
    assert set(recipes) == {variant.name for variant in of.variants if not variant.tokenizer}
    assert all(recipe.model.num_patches >= 49 for recipe in recipes.values())
    if name in ("table3d", "table8"):
        check_measurements(of)


@pytest.mark.parametrize("name", STUDIES)
def test_the_header_says_command_data_cost_and_expectation(name: str) -> None:
    text = (SHIPPED / f"{name}.toml").read_text()
    for word in ("data", "cost", "expect"):
        assert f"# {word} " in text
    out = name.replace("/", "-")
    assert f"# command  nextpatch study {name} --out studies/{out}\n" in text


@pytest.mark.parametrize("name", [*TABLES, *(f"paper/{name}" for name in TABLES if "/" not in name)])
def test_the_papers_figures_are_as_printed(name: str) -> None:
    printed = TABLES.get(name) or TABLES[name.removeprefix("paper/")]
    assert [(v.paper.get("linear"), v.paper.get("attentive")) for v in study(name).variants] == printed


def test_the_papers_figures_of_table_8_are_as_printed() -> None:
    found = [(v.paper["attentive"], v.paper["finetune"]) for v in study("paper/table8").variants]
    assert found == [(78.5, 81.0), (80.6, 83.6), (82.2, 85.5), (82.4, 86.3)]


@pytest.mark.parametrize("name", ["table3f", "paper/table3f"])
def test_the_deep_and_the_wide_trunk_have_the_same_size(name: str) -> None:
    deep, wide = (recipe_of(study(name), study(name).variant(which)).model for which in ("deep", "wide"))
    assert deep.shape.depth > wide.shape.depth
    for size in (lambda cfg: count_params(cfg).trunk, lambda cfg: count_params(cfg).total):
        assert size(deep) == pytest.approx(size(wide), rel=0.02)


def test_studies_of_one_folder_share_their_runs() -> None:
    base = set(trainings(study("figure9")))
    for name in ("table3c", "table3d", "table3e", "table3f", "table4a", "table4b", "table5", "table7", "figure4"):
        assert base < set(trainings(study(name))), name
    assert base == set(trainings(study("table8")))
    assert trainings(study("figure4")).keys() <= trainings(study("figure6")).keys()
    for name, other in (("figure5", "table2"), ("figure7", "table3b"), ("figure10", "figure4")):
        assert trainings(study(name)).keys() == trainings(study(other)).keys()


def test_the_papers_base_is_the_shipped_recipe() -> None:

    ours, theirs = (
        recipe_of(study("paper/figure9"), study("paper/figure9").variants[0]),
        load_recipe(recipe_path("aim-600m")),
    )
    assert ours.optim == theirs.optim
    assert ours.model == theirs.model
    assert (ours.train.steps, ours.train.global_batch_size, ours.train.precision) == (500_000, 4096, "bf16")
    assert (ours.data.crop_scale, ours.data.crop_ratio, ours.data.flip) == (
        theirs.data.crop_scale, theirs.data.crop_ratio, theirs.data.flip,
    )  # fmt: skip
