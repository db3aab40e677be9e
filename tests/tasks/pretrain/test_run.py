"""Pre-training end to end on an ordinary folder of images."""

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from nextpatch.config import ConfigError
from nextpatch.data.config import DataConfig
from nextpatch.data.error import DataError
from nextpatch.data.sources.open import open_source
from nextpatch.model.config import ModelConfig
from nextpatch.objective.next_patch import NextPatch
from nextpatch.runs.checkpoint import newest_checkpoint
from nextpatch.runs.config import OptimConfig, TrainConfig
from nextpatch.runs.recipe import Recipe, recipe_digest
from nextpatch.runs.run import RunDir, RunError, load_run
from nextpatch.tasks.curate.config import Packing
from nextpatch.tasks.curate.pack import pack
from nextpatch.tasks.pretrain import data
from nextpatch.tasks.pretrain.data import open_data, warn_of_overlap
from nextpatch.tasks.pretrain.run import pretrain
from nextpatch.train.step import BadStepError

MODEL = ModelConfig(
    size="nano", img_size=(8, 12), patch_size=4, in_chans=3, embed_dim=16, depth=2, num_heads=2, head_width=16,
    head_depth=1,
).resolved()  # fmt: skip
TRAIN = TrainConfig(
    steps=4, global_batch_size=4, micro_batch_size=4, precision="fp32", device="cpu", val_every=2, checkpoint_every=2,
    log_every=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twelve photos in two nested folders, and one file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (15, 17, 3)).astype(np.uint8)
        place = folder / f"trip {i % 2}" / "deep"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"not an image")
    return folder


@pytest.fixture
def recipe(photos):
    return Recipe(MODEL, DataConfig(train=(str(photos),), val_images=3, workers=0), OptimConfig(warmup_steps=1), TRAIN)


def run_quietly(*args, **kwargs):
    return pretrain(*args, console=Console(quiet=True), **kwargs)


def weights(run):
    return newest_checkpoint(run.checkpoints).tensors("model")


def test_a_run_directory_holds_everything(recipe, tmp_path):
    run = run_quietly(recipe, tmp_path / "run").run
    assert RunDir.open(run.path).recipe == recipe
    assert {"recipe.toml", "env.json", "metrics.jsonl", "log.txt", "checkpoints"} <= {
        p.name for p in run.path.iterdir()
    }
    assert [e["step"] for e in run.read_metrics() if e["kind"] == "train"] == [1, 2, 3, 4]
    assert "step 4 of 4 done" in (run.path / "log.txt").read_text()


def test_a_bad_file_is_named_and_skipped(recipe, tmp_path):
    run = run_quietly(recipe, tmp_path / "run").run
    named = [json.loads(line)["key"] for line in (run.path / "bad_samples.jsonl").read_text().splitlines()]
    assert [key.rpartition("/")[2] for key in named] == ["broken.jpg"]
    assert "broken.jpg" in (run.path / "log.txt").read_text()


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(recipe, tmp_path):
    a, b = (weights(run_quietly(recipe, tmp_path / name).run) for name in "ab")
    c = weights(run_quietly(replace(recipe, train=replace(TRAIN, seed=1)), tmp_path / "c").run)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


def test_held_out_images_are_never_trained_on(recipe):
    stream, held_out = open_data(recipe)
    assert len(held_out.indices) == 3
    shown = stream.mixture.at(np.arange(len(stream.mixture))).tolist()
    assert sorted([*shown, *held_out.indices.tolist()]) == list(range(len(stream.source)))


def test_validation_data_may_be_named(recipe, photos):
    named = replace(recipe, data=replace(recipe.data, val=str(photos / "trip 1"), val_images=4))
    stream, held_out = open_data(named)
    assert (len(stream.mixture), len(held_out.indices)) == (13, 4)
    everything = replace(named, data=replace(named.data, val_images=100))
    assert len(open_data(everything)[1].indices) == 6


def test_the_validation_loss_is_bit_equal_for_any_number_of_workers(recipe):
    with_workers = replace(recipe, data=replace(recipe.data, workers=2))
    here, there = (open_data(r)[1] for r in (recipe, with_workers))
    for a, b in zip(here, there, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.positions, b.positions)


def test_a_loss_that_explodes_is_told_once_and_written_down(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(NextPatch, "loss_sum", lambda self, model, *_: model.head.pred.bias.sum() * float("nan"))
    console = Console(file=io.StringIO(), width=200)
    with pytest.raises(BadStepError, match="step 1: loss nan"):
        pretrain(recipe, tmp_path / "run", console=console)
    assert "ERROR step 1: loss nan" in (tmp_path / "run" / "log.txt").read_text()
    assert "loss nan" not in console.file.getvalue()  # the command prints it at its end


def test_an_existing_run_is_never_overwritten(recipe, tmp_path):
    run = run_quietly(recipe, tmp_path / "run").run
    before = (run.path / "metrics.jsonl").read_text()
    with pytest.raises(RunError, match="--resume"):
        run_quietly(recipe, run.path)
    assert (run.path / "metrics.jsonl").read_text() == before


def test_resume_goes_by_the_runs_own_recipe(recipe, tmp_path):
    run = run_quietly(recipe, tmp_path / "run").run
    assert run_quietly(None, run.path, resume=True).step == 4
    assert run_quietly(recipe, run.path, resume=True).step == 4
    other = replace(recipe, optim=replace(recipe.optim, lr=0.5), train=replace(TRAIN, steps=9))
    with pytest.raises(ConfigError, match=r"optim\.lr, train\.steps"):
        run_quietly(other, run.path, resume=True)


def test_a_recipe_edited_after_the_start_is_refused(recipe, tmp_path):
    run = run_quietly(recipe, tmp_path / "run").run
    path = run.path / "recipe.toml"
    path.write_text(path.read_text().replace("steps = 4", "steps = 5"))
    with pytest.raises(ConfigError, match=r"recipe\.toml"):
        run_quietly(None, run.path, resume=True)


def test_bad_data_leaves_no_run_directory(recipe, tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        run_quietly(replace(recipe, data=replace(recipe.data, train=("/no/such/folder",))), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("val", "told"), [("trip 1", True), ("elsewhere", False)])
def test_validation_images_that_are_trained_on_are_told(recipe, photos, tmp_path, val, told):
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (16, 16), (1, 2, 3)).save(tmp_path / "elsewhere" / "other.png")
    named = replace(recipe, data=replace(recipe.data, val=str((photos if told else tmp_path) / val), val_images=4))
    run_quietly(replace(named, train=replace(named.train, steps=2)), tmp_path / "run")
    assert ("also among the training images" in (tmp_path / "run" / "log.txt").read_text()) == told


@pytest.mark.parametrize("copies", [True, False])
def test_copies_of_validation_images_among_the_training_images_are_told(recipe, tmp_path, copies, caplog):
    (tmp_path / "few").mkdir()
    for i in range(6):
        Image.new("RGB", (12, 8), (0 if copies else 40 * i, 0, 0)).save(tmp_path / "few" / f"{i}.png")
    few = replace(recipe, data=replace(recipe.data, train=(str(tmp_path / "few"),), val="", val_images=2))
    stream, held = open_data(few)
    warn_of_overlap(stream.source, held, few)
    assert ("2 of 2" in caplog.text) == copies


@pytest.fixture
def far(photos, tmp_path, monkeypatch):
    """The photos in shards of a bucket, and one by one."""
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("NEXTPATCH_CACHE", str(tmp_path / "cache"))
    bucket = fsspec.filesystem("memory")
    pack(open_source(str(photos)), tmp_path / "shards", Packing(samples_per_shard=5), 0, Console(quiet=True))
    for shard in (tmp_path / "shards").glob("*.tar"):
        bucket.pipe(f"/overlap/shards/{shard.name}", shard.read_bytes())
    for path in photos.rglob("*.png"):
        bucket.pipe(f"/overlap/loose/{path.parent.name}-{path.name}", path.read_bytes())
    yield "memory://overlap"
    bucket.rm("/overlap", recursive=True)


@pytest.mark.parametrize("kind", ["shards", "loose"])
def test_of_training_images_elsewhere_a_few_are_asked_for_and_no_shard_is_fetched(
    kind, far, recipe, photos, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(data, "_COMPARED_FAR", 6)
    own = replace(recipe, data=replace(recipe.data, train=(f"{far}/{kind}",), val=str(photos), val_images=1000))
    stream, held = open_data(own)
    warn_of_overlap(stream.source, held, own)
    assert "among 6 of the training images: 6 of" in caplog.text
    assert not [file for file in (tmp_path / "cache" / "files").rglob("*") if file.is_file()]
    apart = replace(own, data=replace(own.data, val="", val_images=2))
    stream, held = open_data(apart)
    monkeypatch.setattr(data, "find_shared", None)  # held out of the training images, they are not compared at all
    warn_of_overlap(stream.source, held, apart)


@pytest.fixture
def moving(recipe, photos, tmp_path):
    """A finished run and its recipe on a copy of the photos, which may be moved and changed."""
    place = shutil.copytree(photos, tmp_path / "photos")
    own = replace(recipe, data=replace(recipe.data, train=(str(place),)))
    return run_quietly(own, tmp_path / "run").run, own, place


def moved_to(recipe, place):
    return replace(recipe, data=replace(recipe.data, train=(str(place),)))


def test_a_run_goes_on_with_its_images_wherever_they_lie(moving, tmp_path):
    run, recipe, place = moving
    there = place.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"If the images have moved, give their new location: --resume --data DATA"):
        run_quietly(None, run.path, resume=True)
    assert run_quietly(moved_to(recipe, there), run.path, resume=True).step == 4
    assert RunDir.open(run.path).recipe == moved_to(recipe, there)  # found again without a word the next time
    assert run_quietly(None, run.path, resume=True).step == 4
    assert load_run(run.path).step == 4


@pytest.mark.parametrize("what", ["replaced", "one more", "others elsewhere"])
def test_a_run_does_not_go_on_with_other_images(moving, tmp_path, what):
    run, recipe, place = moving
    picture, other = sorted(place.rglob("*.png"))[:2]
    if what == "replaced":
        picture.write_bytes(other.read_bytes())
    elif what == "one more":
        shutil.copy(other, other.with_name("more.png"))
    else:
        place = shutil.copytree(place, tmp_path / "elsewhere")
        (place / picture.relative_to(tmp_path / "photos")).write_bytes(other.read_bytes())
    with pytest.raises(ConfigError, match=r"(other images|images are not those).*give its new location with --data"):
        run_quietly(moved_to(recipe, place), run.path, resume=True)
    assert RunDir.open(run.path).recipe == recipe


def test_a_run_whose_checkpoints_know_places_goes_on_there(moving, monkeypatch):
    run, recipe, place = moving
    monkeypatch.setattr("nextpatch.tasks.pretrain.learner.recipe_digest", lambda own: recipe_digest(own, places=True))
    monkeypatch.setattr("nextpatch.tasks.pretrain.learner.inputs_of", lambda *_: {})
    out = run.path.with_name("before")
    longer = replace(recipe, train=replace(TRAIN, steps=2))
    run_quietly(longer, out)
    monkeypatch.undo()
    assert run_quietly(None, out, resume=True).step == 2
    there = place.rename(place.with_name("elsewhere"))
    assert run_quietly(moved_to(longer, there), out, resume=True).step == 2
