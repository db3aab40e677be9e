"""What a preview says beside its pictures."""

from __future__ import annotations

from nextpatch.core.text import shown
from nextpatch.data.skipped import by_kind
from nextpatch.data.survey import several
from nextpatch.tasks.curate.preview import Row, Sheet, View

COLUMNS = ("original, with the crops", "view 1", "view 2", "view 3", "target of view 1", "evaluation view")


def title(sheet: Sheet) -> str:
    """What the picture shows."""
    return f"What the model sees of {shown(sheet.name)}"


def subtitle(sheet: Sheet) -> str:
    """The settings that the views come from."""
    cfg, data, (height, width), (rows, columns) = sheet.model, sheet.data, sheet.model.img_size, sheet.model.grid
    low, high = data.crop_scale
    crops = "the whole image" if low == high == 1 else f"crops of {low:.0%} to {high:.0%} of the area"
    patches = f"{rows} x {columns} patches of {cfg.patch_size} px"
    return f"{height} x {width} px, {patches}; {crops}, flipped with probability {data.flip:.0%}"


def notes(sheet: Sheet) -> list[str]:
    """How to read the pictures, and what was passed over."""
    found = [f"Shaded: {sheet.words.shaded}", f"Target: {sheet.words.predicted}"]
    if sheet.model.in_chans not in (1, 3):
        found.append(f"The images have {sheet.model.in_chans} channels; the first is shown, in grey.")
    if count := sum(row.pictures > 1 for row in sheet.rows):
        found.append(f"Of these files {several(count)}.")
    if sheet.bad:
        found.append(f"Skipped, because they cannot be used: {by_kind(sheet.bad)}.")
    return found


def about_image(row: Row) -> tuple[str, str]:
    """Its name, and what it is."""
    height, width = row.original.shape[1:]
    label = f", {shown(row.label)}" if row.label else ""
    color = "" if row.channels == 3 else f", {row.channels} channel{'s' if row.channels > 1 else ''}"
    first = f", the first of {row.pictures} pictures" if row.pictures > 1 else ""
    return shown(row.key), f"{height} x {width} px, {row.ending}{color}{first}{label}"


def about_view(row: Row, view: View) -> str:
    """The share of the image, and what was drawn."""
    _, _, height, width = view.box
    share = height * width / (row.original.shape[1] * row.original.shape[2])
    return f"{share:.0%} of the area{', flipped' if view.flipped else ''}; {view.told}"
