"""Pre-training from Python: the run of the command line, whatever holds the images; it stops and goes on."""

from __future__ import annotations

import gc
import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nextpatch
from nextpatch.config import ConfigError
from nextpatch.core.errors import UserError
from nextpatch.runs.recipe import Recipe

PIXELS = np.random.default_rng(0).integers(0, 255, (24, 28, 28), np.uint8)
SMALL: dict[str, Any] = {
    "model": "nano", "embed_dim": 32, "depth": 2, "num_heads": 2, "head_width": 32, "head_depth": 1, "patch_size": 7,
    "report": False, "quiet": True, "threads": 1,
}  # fmt: skip


class OwnDataset(torch.utils.data.Dataset[Any]):
    """Images with labels, and something that happens when one is read."""

    def __init__(self, pixels: np.ndarray, then: Callable[[int], object] = lambda index: None) -> None:
        self.pixels, self.then = pixels, then

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Any:
        self.then(index)
        return self.pixels[index], index % 3


def weights_of(run: nextpatch.PretrainResult) -> str:
    return run.load().digest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> nextpatch.PretrainResult:
    return nextpatch.pretrain(PIXELS, tmp_path_factory.mktemp("whole") / "run", steps=6, **SMALL)


def test_images_in_memory_are_learned_from_as_files_are(whole: nextpatch.PretrainResult, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, pixels in enumerate(PIXELS):
        np.save(folder / f"{number:02}.npy", pixels)
    forms = {"files": folder, "data set": OwnDataset(PIXELS), "list": list(PIXELS)}
    for name, data in forms.items():
        found = nextpatch.pretrain(data, tmp_path / name, steps=6, **SMALL)
        assert (weights_of(found), found.val_loss) == (weights_of(whole), whole.val_loss)
    assert (whole.steps, len(whole.history.train) > 0) == (6, True)
    assert {"step", "loss", "kind"} <= {key for entry in whole.history.train for key in (*vars(entry), "kind")}
    assert "6 of 6" in str(whole)
    assert nextpatch.load(whole).digest() == weights_of(whole)
    assert "<table>" in whole._repr_html_()


@pytest.fixture
def threads() -> Iterator[int]:
    """How many PyTorch uses, which it uses again afterwards."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stop_saves_and_raises_and_the_run_goes_on_bit_for_bit(
    workers: int, whole: nextpatch.PretrainResult, tmp_path: Path, threads: int
) -> None:
    asked = []

    def interrupt(index: int) -> None:  # at the first image after the run has begun to log
        if not asked and (tmp_path / "run" / "metrics.jsonl").exists():
            asked.append(index)
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    torch.set_num_threads(threads + 1)  # which the run, with one, does not keep
    handlers = list(logging.getLogger("nextpatch").handlers)
    with pytest.raises(nextpatch.Stopped, match=r"saved; continue with .*resume=True") as stopped:
        nextpatch.pretrain(OwnDataset(PIXELS, interrupt), tmp_path / "run", steps=6, **SMALL)
    assert isinstance(stopped.value, KeyboardInterrupt)
    assert signal.getsignal(signal.SIGINT) is before
    assert torch.get_num_threads() == threads + 1
    torch.set_num_threads(threads)
    assert logging.getLogger("nextpatch").handlers == handlers
    done = nextpatch.pretrain(OwnDataset(PIXELS), tmp_path / "run", resume=True, quiet=True, workers=workers)
    assert (done.steps, weights_of(done)) == (6, weights_of(whole))
    assert done.report
    assert done.report.stat().st_size


def test_changed_images_are_noticed_when_a_run_goes_on(tmp_path: Path) -> None:
    nextpatch.pretrain(OwnDataset(PIXELS), tmp_path / "run", steps=1, **SMALL)
    for changed in (255 - PIXELS, PIXELS[::-1].copy(), PIXELS[:-1]):
        with pytest.raises(ConfigError, match=r"other images|training images"):
            nextpatch.pretrain(OwnDataset(changed), tmp_path / "run", resume=True, quiet=True)
    gc.collect()
    with pytest.raises(UserError, match="give them again"):
        nextpatch.pretrain(None, tmp_path / "run", resume=True, quiet=True)
    other = nextpatch.dataset(255 - PIXELS, name="mine")
    nextpatch.pretrain(nextpatch.dataset(PIXELS, name="mine"), tmp_path / "named", steps=1, **SMALL)
    with pytest.raises(ConfigError, match="contents of images"):
        nextpatch.pretrain(other, tmp_path / "named", resume=True, quiet=True)


def test_it_works_in_a_thread_and_says_nothing_when_asked(
    whole: nextpatch.PretrainResult, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found: list[nextpatch.PretrainResult] = []
    work = threading.Thread(target=lambda: found.append(nextpatch.pretrain(PIXELS, tmp_path / "run", steps=6, **SMALL)))
    work.start()
    work.join()
    assert weights_of(found[0]) == weights_of(whole)
    assert capfd.readouterr() == ("", "")


def test_bad_images_are_left_out_counted_and_named(tmp_path: Path) -> None:
    def fail(index: int) -> None:
        if index in (5, 7):
            raise RuntimeError("cannot be made")

    run = nextpatch.pretrain(OwnDataset(PIXELS, fail), tmp_path / "run", steps=6, **SMALL)
    lines = [json.loads(line) for line in (run.run / "bad_samples.jsonl").read_text().splitlines()]
    assert {line["key"].partition("#")[2] for line in lines} == {"5", "7"}
    assert {line["reason"] for line in lines} == {"RuntimeError: cannot be made"}


def test_a_recipe_in_every_form_is_the_same_recipe(whole: nextpatch.PretrainResult, tmp_path: Path) -> None:
    nothing = {"report": False, "quiet": True}
    forms: dict[str, Any] = {
        "object": whole.recipe, "run": whole, "path": whole.run / "recipe.toml",
        "tables": {"model": whole.recipe.model, "steps": 6, "optim": whole.recipe.optim, "train": {"log_every": 10}},
    }  # fmt: skip
    for name, recipe in forms.items():
        found = nextpatch.pretrain(PIXELS, tmp_path / name, recipe=recipe, **nothing)
        assert weights_of(found) == weights_of(whole)
    over = nextpatch.pretrain(PIXELS, tmp_path / "over", recipe=whole.recipe, steps=2, lr=1e-4, **nothing)
    assert (over.recipe.train.steps, over.recipe.optim.lr) == (2, 1e-4)
    assert isinstance(over.recipe, Recipe)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"lrr": 1}, "did you mean 'lr'"), ({"window": 3}, "guard="), ({"steps": 2, "minutes": 1.0}, "give one"),
        ({"steps": 0}, "leaves nothing"), ({"minutes": 0.0}, "leaves nothing"),
        ({"log_every": "two"}, "needs int"), ({"guard": {"sigma": 1}}, "sigmas"), ({"init": "nowhere"}, "nowhere"),
        ({"recipe": "dmo"}, "demo"), ({"img_size": (28,)}, "img_size"), ({"lr": -1}, "lr"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused_with_what_to_do_and_leave_no_folder(
    values: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=told):
        nextpatch.pretrain(PIXELS, tmp_path / "run", quiet=True, **values)
    assert not (tmp_path / "run").exists()


def test_a_report_shows_images_in_memory_that_are_held_or_given_again(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    pixels = PIXELS // 2  # which nothing else here holds
    run = nextpatch.pretrain(pixels, tmp_path / "run", steps=1, **SMALL)
    assert "No pictures" not in nextpatch.report(run, images=2, quiet=True).page.read_text()
    del run
    gc.collect()
    assert "No pictures" in nextpatch.report(tmp_path / "run", images=2, quiet=True).page.read_text()
    again = nextpatch.report(tmp_path / "run", images=2, data=pixels.copy(), quiet=True)
    assert "No pictures" not in again.page.read_text()


def test_values_of_numpy_and_torch_are_numbers(tmp_path: Path) -> None:
    values: dict[str, Any] = {"img_size": np.array([28, 28]), "seed": np.int64(3), "threads": torch.tensor(1)}
    run = nextpatch.pretrain(PIXELS, tmp_path / "run", steps=1, **SMALL | values, lr=np.float32(0.5))
    assert (run.recipe.train.seed, run.recipe.optim.lr, run.recipe.model.img_size) == (3, 0.5, (28, 28))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"quite": True}, "'quiet'"), ({"repot": 1}, "'report'"), ({"modle": "nano"}, "'model'"),
        ({"guard": 3}, "table of values"), ({"guard": None}, "table of values"), ({"recipe": {"train": 3}}, "table"),
        ({"recipe": {"foo": 1}}, "foo"), ({"recipe": {"guard": "stop"}}, "table of values"),
    ],
)  # fmt: skip
def test_what_is_near_a_keyword_or_is_no_table_is_said(values: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        nextpatch.pretrain(PIXELS, tmp_path / "run", steps=1, **values)
    if "quite" in values:
        with pytest.raises(ConfigError, match=told):
            nextpatch.probe("nowhere", (PIXELS, [0, 1] * 12), **values)


@pytest.mark.parametrize("out", ["", "a\0b", "x" * 300, "a\udcff"])
def test_an_output_without_a_name_is_refused_before_the_work(out: str, whole: nextpatch.PretrainResult) -> None:
    labeled = (PIXELS, [0, 1] * 12)
    for call in (
        lambda: nextpatch.pretrain(PIXELS, out, steps=1), lambda: nextpatch.probe(whole, labeled, out=out),
        lambda: nextpatch.embed(whole, PIXELS, out=out, quiet=True),
        lambda: nextpatch.finetune(whole, labeled, out, quiet=True),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=r"names no place|longer than 255"):
            call()
