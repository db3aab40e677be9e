"""A preview as a page of its own: pictures inside, no network, light and dark."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from nextpatch.core.errors import UserError
from nextpatch.core.files import write_text
from nextpatch.tasks.curate.captions import COLUMNS, about_image, notes, subtitle, title
from nextpatch.tasks.curate.contact_sheet import pictures
from nextpatch.tasks.curate.draw import PHOTOGRAPH, cell_size
from nextpatch.tasks.curate.preview import Sheet


class PageError(UserError):
    """The page cannot be written here; the message says what to install."""


def write_page(sheet: Sheet, path: Path) -> Path:
    """Write the page to `path`, which is returned."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise PageError("the page needs Jinja2; install it with: pip install 'nextpatch[report]'") from None
    environment = Environment(
        loader=PackageLoader("nextpatch.tasks.curate", ""), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    small, across = max(sheet.model.img_size) < PHOTOGRAPH, cell_size(sheet.model)[0]
    rows = [
        (about_image(row), [(_uri(cell, small), cell.width / across, text) for cell, text in pictures(row, sheet)])
        for row in sheet.rows
    ]
    text = environment.get_template("preview.html").render(
        css=Path(__file__).with_name("preview.css").read_text(encoding="utf-8"),
        title=title(sheet),
        subtitle=subtitle(sheet),
        notes=notes(sheet),
        columns=COLUMNS,
        rows=rows,
    )
    write_text(path, text)
    return path


def _uri(picture: Image.Image, exact: bool) -> str:
    """As a data URI: PNG where single pixels are to be seen, else WebP."""
    file, kind = io.BytesIO(), "png" if exact else "webp"
    picture.save(file, kind, quality=88)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
