"""Where the loss is: on the image for every order, along the sequence, and of images upside down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nextpatch.model.names import DRAWN_ORDERS, ORDERS
from nextpatch.tasks.report.build import write_report

GRID = (2, 3)  # of the fixture's images
LOSSES = [0.1, 0.2, 0.3, 0.4, 0.5]
NEW = {"chunk_loss": [None, *LOSSES], "chunk_start": [0, 1, 2, 3, 4, 5]}


def shown(run: Path, order: str, **values: Any) -> tuple[str, dict[str, Any]]:
    """The page and its figures for a last validation with these values."""
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('order = "raster"', f'order = "{order}"'))
    entry = {"kind": "val", "step": 20, "loss": 0.3, "images": 6, "position_loss": LOSSES, **values}
    (run / "metrics.jsonl").write_text(json.dumps(entry) + "\n")
    page = write_report(run, images=1).page.read_text()
    return page, json.loads((run / "report.json").read_text())["validation"]


@pytest.mark.parametrize("order", [name for name in ORDERS if name not in DRAWN_ORDERS])  # that is drawn for each image
def test_a_loss_stands_at_the_patch_that_was_predicted(run: Path, order: str) -> None:
    page, found = shown(run, order, **NEW)
    assert [found["map"][place] for place in ORDERS[order](GRID, 0).tolist()] == [None, *LOSSES]
    assert f"the 6 patches in {order} order, in 6" in " ".join(page.split())
    assert found["chunk_loss"] == [None, *LOSSES]
    assert "upside down" not in page


def test_losses_of_patches_are_taken_as_they_are_said(run: Path) -> None:
    said = [0.6, 0.5, None, 0.3, 0.2, 0.1]
    assert shown(run, "raster", patch_loss=said, **NEW)[1]["map"] == said


def test_chunks_of_earlier_versions_are_named_as_they_were_cut(run: Path) -> None:
    _, found = shown(run, "raster", chunk_loss=[None, *LOSSES])
    assert found["chunk_start"] == [0, 1, 2, 3, 4, 5]
    assert found["flipped_chunk_loss"] is None


@pytest.mark.parametrize(("order", "said"), [("raster", True), ("checkerboard", False)])
def test_the_loss_of_images_upside_down_stands_beside(run: Path, order: str, said: bool) -> None:
    flipped = {"flipped_loss": 0.31, "flipped_chunk_loss": [None, 0.5, 0.4, 0.3, 0.2, 0.15]}
    page, found = shown(run, order, **NEW, **flipped)
    assert (found["flipped_loss"], found["flipped_chunk_loss"]) == (0.31, flipped["flipped_chunk_loss"])
    text = " ".join(page.split())
    assert "upside down (Figure 9), whose mean loss is 0.3100" in text
    assert ("the first chunk the bottom of the picture" in text) == said
    assert "images upside down: 0.15" in page
    assert "images as they are: 0.5" in page
