"""The page of a run that generates shows samples, what is near them and how images go on, in bounded time, once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from browser import Browser, browser
from nextpatch.config import dumps_toml, to_dict
from nextpatch.data.config import DataConfig
from nextpatch.runs.checkpoint import save_checkpoint
from nextpatch.runs.config import TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir
from nextpatch.tasks.report import generated
from nextpatch.tasks.report.build import write_report
from nextpatch.tasks.report.generated import SampleDrawer, masks_of
from nextpatch.tasks.report.nearest import nearest_training_images
from nextpatch.train.heldout import held_out
from nextpatch.train.showing import FOLDER, side_by_side
from sampled import generator_of

__all__ = ["browser"]  # the fixture
NAMES = ("cat", "dog <b>", "cow")
Made = Callable[..., Path]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Makes a run that generates over twelve images of 6 x 8 px, three of them held out."""

    def make(**values: Any) -> Path:
        folder, rng = tmp_path / "photos", np.random.default_rng(0)
        folder.mkdir()
        for i in range(12):
            Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")
        model = generator_of(**values)
        classes = NAMES if model.cfg.classes else ()
        data = DataConfig((str(folder),), val_images=3, workers=0, flip=0.5, classes=classes)
        train = TrainConfig(
            4, global_batch_size=2, micro_batch_size=2, precision="fp32", device="cpu", val_every=2, checkpoint_every=2
        )
        run = tmp_path / "run"
        run.mkdir()
        (run / "recipe.toml").write_text(dumps_toml(to_dict(Recipe(model.cfg.resolved(), data, train=train))))
        save_checkpoint(run / "checkpoints", 4, {"model": model.state_dict()}, {"step": 4})
        return run

    return make


def page_of(run: Path, **values: Any) -> tuple[str, dict[str, Any]]:
    found = write_report(run, images=2, **values)
    figures: dict[str, Any] = json.loads((run / "report.json").read_text())
    return found.page.read_text(), figures


def recipe_at(run: Path) -> Recipe:
    return RunDir.open(run).recipe


def test_the_page_shows_classes_by_guidance_neighbors_completions_and_speed(made: Made) -> None:
    text, figures = page_of(made())
    assert all(name in text for name in ("cat", "dog &lt;b&gt;", "guidance 5", "no class"))
    assert figures["generated"]["shown"] == {"samples": 6, "completions": 3, "nearest": 3}
    assert figures["generated"]["patches_per_s"] == pytest.approx(12 * figures["generated"]["images_per_s"])
    assert figures["generated"]["nearest"]["images"] == figures["generated"]["nearest"]["of"] == 9
    assert "patches a second" in text
    assert "Predictions, patch by patch" in text


def test_without_classes_rows_are_temperatures_and_any_order_fills_holes(made: Made) -> None:
    text, figures = page_of(made(classes=0, order="any"))
    assert "temperature 0.6" in text
    assert "guidance 5" not in text
    assert figures["generated"]["shown"]["inpainting"] == 3


def test_only_orders_that_see_what_is_known_fill_a_hole() -> None:
    cfg = generator_of(order="any").cfg
    assert set(masks_of(cfg)) == {"completions", "inpainting"}
    assert set(masks_of(replace(cfg, order="raster"))) == {"completions"}


def test_samples_are_drawn_once_for_the_same_weights(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made()
    first, _ = page_of(run)
    drawn = []
    monkeypatch.setattr(SampleDrawer, "draw", lambda self: drawn.append(1) or generated.DrawnSamples())
    again, _ = page_of(run)
    assert section(again) == section(first)
    assert not drawn
    save_checkpoint(run / "checkpoints", 6, {"model": generator_of().state_dict()}, {"step": 6})
    page_of(run)
    assert drawn


def section(page: str) -> str:
    return page.split('id="generated"')[1].split("</section>")[0]


def test_a_damaged_file_of_kept_samples_is_drawn_anew(made: Made) -> None:
    run = made()
    first, _ = page_of(run)
    file = run / "report_samples.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    again, _ = page_of(run)
    assert section(again).split("Speed")[0] == section(first).split("Speed")[0]


def test_they_can_be_left_out_and_other_runs_have_none(made: Made, run: Path) -> None:
    text, figures = page_of(made(), samples=False)
    assert figures["generated"] is None
    assert 'id="generated"' not in text
    assert page_of(run)[1]["generated"] is None


def test_where_the_images_are_gone_samples_are_there_and_the_rest_is_said(made: Made, tmp_path: Path) -> None:
    run = made()
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    text, figures = page_of(run)
    assert figures["generated"]["shown"] == {"samples": 6}
    assert "There are no completions" in text
    assert "Nearest training images are not shown" in text


def test_a_row_for_which_there_is_no_time_is_left_out_and_said(made: Made) -> None:
    run = made()
    recipe = recipe_at(run)
    times = iter([0.0, *range(0, 10_000, 7)])
    found = SampleDrawer(generator_of(), recipe, None, clock=lambda: float(next(times))).draw()
    assert 1 <= len(found.grids[0].rows) < 6
    assert sum("30 s are given" in note for note in found.notes) == 1


def test_a_model_too_large_for_this_machine_is_not_sampled(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made()
    monkeypatch.setattr(generated, "_FLOPS", 1.0)
    text, figures = page_of(run)
    assert figures["generated"]["shown"] == {}
    assert "Some samples were left out" in text


def test_a_mirrored_copy_of_a_training_image_is_found_and_shown_as_the_sample(made: Made) -> None:
    recipe = recipe_at(made())
    held = held_out(recipe)
    learned = next(i for i in range(12) if i not in held.indices)
    copy = torch.from_numpy(np.array(Image.open(Path(recipe.data.train[0]) / f"{learned:02d}.png"))).permute(2, 0, 1)
    rows, compared = nearest_training_images(recipe, copy.flip(2)[None], held)
    pictures, notes = rows[0]
    assert compared.samples == (0.0,)
    assert min(compared.held_out) > 0
    assert torch.equal(pictures[0], pictures[1])
    assert notes[:2] == ("", "0.000")


def test_what_was_drawn_while_it_trained_is_a_row_for_each_step(made: Made) -> None:
    run = made()
    (run / FOLDER).mkdir()
    side_by_side(torch.randint(0, 255, (2, 3, 6, 8)).byte()).save(run / FOLDER / "step_00000002.png")
    (run / FOLDER / "step_00000004.png").write_bytes(b"no picture")
    text, _ = page_of(run)
    assert text.count("sample while it trained, step 2") == 2
    assert "step 4," not in section(text)


@pytest.mark.browser
def test_the_page_fits_a_phone_and_a_desk(made: Made, browser: Browser) -> None:
    run = made()
    page = write_report(run, images=2).page
    for width in (390, 1280):
        browser.open(page, width, dark=False)
        assert browser.trouble() == []
        assert browser.value("document.documentElement.scrollWidth") <= width
        assert browser.value("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


def test_a_model_that_enlarges_shows_that_and_nothing_else(made: Made) -> None:
    text, figures = page_of(made(upscale=2, classes=0))
    assert figures["generated"] is not None, figures["notes"]
    assert figures["generated"]["shown"] == {"upscaling": 3}
    assert figures["notes"] == [note for note in figures["notes"] if "samples" not in note]
    assert "the same 2 times smaller" in " ".join(text.split())
