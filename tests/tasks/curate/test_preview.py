"""The preview shows what training would: its crops, prefixes and targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from losses import prefix_lengths
from nextpatch.core.random import Stream, rng_at
from nextpatch.data.config import DataConfig
from nextpatch.data.decode import decode
from nextpatch.data.error import DataError
from nextpatch.data.sources.folder import FolderSource
from nextpatch.data.views import eval_view, train_view
from nextpatch.model.config import ModelConfig
from nextpatch.model.names import DRAWN_ORDERS, ORDERS
from nextpatch.objective.masked import draw_masked
from nextpatch.patches import patchify
from nextpatch.runs.config import OptimConfig, TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.tasks.curate.captions import notes
from nextpatch.tasks.curate.contact_sheet import draw_sheet
from nextpatch.tasks.curate.draw import TONES, cell_size, plain, with_given
from nextpatch.tasks.curate.page import write_page
from nextpatch.tasks.curate.preview import VIEWS, Sheet, preview

SMALL = ModelConfig(size="nano", img_size=(16, 12), patch_size=4)


def recipe(model: ModelConfig = SMALL, **data) -> Recipe:
    return Recipe(model, DataConfig(**data), OptimConfig(), TrainConfig())


def shown(root: Path, made: Recipe | None = None, images: int = 5, seed: int = 3) -> Sheet:
    return preview(FolderSource(root), made or recipe(), images, seed)


def test_views_are_those_that_training_draws(photos: Path) -> None:
    sheet, cfg = shown(photos), recipe()
    known = dict.fromkeys(range(VIEWS * len(sheet.rows)))
    for row in sheet.rows:
        image = decode((photos / row.key).read_bytes(), 3)
        drawn = {p: train_view(image, SMALL.img_size, cfg.data, rng_at(3, Stream.VIEW, p)) for p in known}
        first = next(p for p in known if torch.equal(drawn[p], row.views[0].image))
        prefixes = prefix_lengths(SMALL, 3, torch.arange(first, first + VIEWS)).tolist()
        for number, view in enumerate(row.views):
            assert torch.equal(view.image, drawn[first + number])
            assert view.given.tolist() == [k < prefixes[number] for k in range(SMALL.num_patches)]
        assert torch.equal(row.evaluation, eval_view(image, SMALL.img_size))


def test_the_crop_that_is_framed_is_the_crop_that_is_taken(photos: Path) -> None:
    whole = ModelConfig(size="nano", img_size=(8, 8), patch_size=4)
    for row in shown(photos, recipe(whole), images=8).rows:
        for view in row.views:
            top, left, height, width = view.box
            cut = row.original[:, top : top + height, left : left + width]
            again = train_view(
                cut, whole.img_size, DataConfig(crop_scale=(1.0, 1.0), flip=0.0), rng_at(0, Stream.VIEW, 0)
            )
            assert torch.equal(again.flip(-1) if view.flipped else again, view.image)


def test_the_target_is_shown_after_the_prefix_only(photos: Path) -> None:
    for row in shown(photos).rows:
        patches = patchify(row.target[None], SMALL.patch_size)[0]
        prefix = int(row.views[0].given.sum())
        assert bool((patches[:prefix] == 0.5).all())
        assert bool((patches[prefix:].std(dim=1) > 0.1).all())  # random pixels, normalized


@pytest.mark.parametrize("order", [name for name in ORDERS if name not in DRAWN_ORDERS])  # that is drawn for each image
def test_the_given_patches_are_the_first_of_the_sequence(photos: Path, order: str) -> None:
    model = ModelConfig(size="nano", img_size=(16, 12), patch_size=4, order=order, target="pixels")
    sequence = ORDERS[order](model.grid, 0)
    for row in shown(photos, recipe(model), images=2).rows:
        for view in row.views:
            count = int(view.told.split()[3])
            assert set(view.given.nonzero().flatten().tolist()) == set(sequence[:count].tolist())
        patches, true = (patchify(x[None].float(), 4)[0] for x in (row.target * 255, row.views[0].image))
        hidden = ~row.views[0].given
        torch.testing.assert_close(patches[hidden], true[hidden], atol=0.01, rtol=0)


def test_of_a_masked_model_what_is_masked_is_hidden_and_alone_is_the_target(photos: Path) -> None:
    model = ModelConfig(size="nano", img_size=(16, 12), patch_size=4, objective="masked", mask_ratio=0.25)
    sheet = shown(photos, recipe(model))
    masked = draw_masked(3, torch.arange(VIEWS * len(sheet.rows)), 12, 3)
    ours = torch.stack([~view.given for row in sheet.rows for view in row.views])
    assert sorted(ours.tolist()) == sorted(masked.tolist())
    for row in sheet.rows:
        assert all(view.told.startswith("3 of 12 patches masked") for view in row.views)
        patches, given = patchify(row.target[None], 4)[0], row.views[0].given
        assert bool((patches[given] == 0.5).all())
        assert bool((patches[~given].std(dim=1) > 0.1).all())
    assert any("masked" in note for note in notes(sheet))
    assert not any("prefix" in note for note in notes(sheet))


def test_pixels_as_targets_are_the_view_itself(photos: Path) -> None:
    model = ModelConfig(size="nano", img_size=(16, 12), patch_size=4, target="pixels")
    for row in shown(photos, recipe(model)).rows:
        patches, true = (patchify(x[None].float(), 4)[0] for x in (row.target * 255, row.views[0].image))
        hidden = ~row.views[0].given
        torch.testing.assert_close(patches[hidden], true[hidden], atol=0.01, rtol=0)


def test_the_seed_decides_everything(photos: Path) -> None:
    first, again, other = (draw_sheet(shown(photos, seed=seed)).tobytes() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_what_cannot_be_used_is_passed_over_and_said(photos: Path) -> None:
    sheet = shown(photos, images=100)
    assert len(sheet.rows) == 40
    assert len(sheet.bad) == 3
    assert any("Skipped" in note for note in notes(sheet))


def test_nothing_that_can_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="no image of"):
        shown(tmp_path)


def test_many_channels_are_shown_by_the_first_and_that_is_said(tmp_path: Path) -> None:
    bands = np.random.default_rng(0).integers(0, 256, (16, 12, 5), dtype=np.uint8)
    np.save(tmp_path / "a.npy", bands)
    sheet = shown(tmp_path, recipe(ModelConfig(size="nano", img_size=(16, 12), patch_size=4, in_chans=5)))
    assert any("5 channels; the first is shown" in note for note in notes(sheet))
    picture = np.asarray(plain(sheet.rows[0].evaluation, (12, 16)))
    assert (picture == bands[:, :, :1]).all()


@pytest.mark.parametrize("given", [{0}, {0, 1, 2}, {0, 1, 2, 3}, {1, 3, 8}], ids=str)
def test_exactly_what_is_given_is_shaded(given: set[int]) -> None:
    model = ModelConfig(size="nano", img_size=(24, 24), patch_size=8)
    grey = torch.full((3, 24, 24), 128, dtype=torch.uint8)
    size = cell_size(model)
    picture = np.asarray(with_given(grey, torch.tensor([k in given for k in range(9)]), model, TONES[0], size)).astype(
        int
    )
    side = size[0] // 3
    middles = [picture[r * side + side // 2, c * side + side // 2] for r in range(3) for c in range(3)]
    assert [bool(abs(middle - 128).max() > 20) for middle in middles] == [number in given for number in range(9)]


def test_picture_and_page_hold_every_row(photos: Path, tmp_path: Path) -> None:
    sheet = shown(photos, images=3)
    assert draw_sheet(sheet).height < draw_sheet(shown(photos, images=4)).height
    text = write_page(sheet, tmp_path / "p.html").read_text(encoding="utf-8")
    assert text.count("<section>") == 3
    assert text.count('src="data:image/png') == 18
    assert "http" not in text.replace("http-equiv", "")


def test_names_are_escaped(tmp_path: Path, image) -> None:
    root = tmp_path / "a<script>"
    root.mkdir()
    (root / "<b>\x1b[31m\n\udce9.png").write_bytes(image(0))
    text = write_page(shown(root), tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<b>" not in text
    assert "\\x1b[31m\\x0a\\xe9.png" in text


def test_a_very_wide_image_fits(tmp_path: Path) -> None:
    Image.new("RGB", (4000, 3)).save(tmp_path / "wide.png")
    draw_sheet(shown(tmp_path))
