"""The section of the page that shows what a run generates, from what was drawn and what was kept while it trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nextpatch.model.config import ModelConfig
from nextpatch.tasks.report.axes import number
from nextpatch.tasks.report.generated import DrawnSamples, PictureGrid, PictureRow
from nextpatch.tasks.report.images import image_uri
from nextpatch.tasks.report.nearest import Compared
from nextpatch.train.showing import GUIDANCE, kept


@dataclass(frozen=True)
class DrawnRow:
    """A row of the page: (data URI, what is said below) of each picture."""

    label: str
    pictures: list[tuple[str, str]]


@dataclass(frozen=True)
class DrawnGrid:
    """A grid of the page; `across` pictures wide."""

    kind: str
    columns: tuple[str, ...]
    rows: list[DrawnRow]
    across: int

    @property
    def labelled(self) -> bool:
        """Whether something is said before the rows."""
        return any(row.label for row in self.rows)


@dataclass(frozen=True)
class GeneratedSection:
    """What the template reads; `grids` by kind."""

    grids: dict[str, DrawnGrid]
    compared: Compared | None
    speed: str
    guidance: str
    notes: Sequence[str]


def generated_section(
    found: DrawnSamples, run: Path, cfg: ModelConfig, trained_per_s: float | None
) -> GeneratedSection:
    """Of what was drawn for the page, and of the samples that the run kept."""
    grids = {grid.kind: _grid(grid) for grid in found.grids}
    if training := _while_training(run, cfg):
        grids["training"] = _grid(training)
    return GeneratedSection(grids, found.compared, _speed(found, trained_per_s), f"{GUIDANCE:g}", found.notes)


def figures_of(found: DrawnSamples) -> dict[str, Any]:
    """The figures alone, for report.json."""
    near = found.compared
    return {
        "patches_per_s": found.patches_per_s, "images_per_s": found.images_per_s, "together": found.together,
        "nearest": None if near is None else near.__dict__, "notes": found.notes,
        "shown": {grid.kind: len(grid.rows) for grid in found.grids},
    }  # fmt: skip


def _grid(grid: PictureGrid) -> DrawnGrid:
    rows = [DrawnRow(row.label, [(image_uri(one / 255), note) for one, note in _noted(row)]) for row in grid.rows]
    return DrawnGrid(grid.kind, grid.columns, rows, max(len(row.pictures) for row in rows))


def _noted(row: PictureRow) -> list[tuple[torch.Tensor, str]]:
    notes = [*row.notes, *[""] * (len(row.images) - len(row.notes))]
    return list(zip(row.images, notes, strict=True))


def _while_training(run: Path, cfg: ModelConfig) -> PictureGrid | None:
    """A row for each moment; files that are no such strips are passed over."""
    rows = []
    for moment in kept(run):
        try:
            with Image.open(moment.path) as picture:
                pixels = np.array(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError):
            continue
        height, width = cfg.img_size
        if pixels.shape[0] == height and pixels.shape[1] % width == 0:
            strip = torch.from_numpy(pixels).permute(2, 0, 1)
            rows.append(PictureRow(f"step {moment.step:,}", torch.stack(torch.split(strip, width, dim=2))))
    return PictureGrid("training", (), tuple(rows)) if rows else None


def _speed(found: DrawnSamples, trained_per_s: float | None) -> str:
    if found.patches_per_s is None or found.images_per_s is None:
        return ""
    trained = "" if trained_per_s is None else f"; training: {number(trained_per_s)} images a second, pauses included"
    return (
        f"Sampling on this machine's CPU: {number(found.patches_per_s)} patches a second, {number(found.images_per_s)} "
        f"images a second, {found.together} at a time, without guidance, which takes twice as long{trained}."
    )
