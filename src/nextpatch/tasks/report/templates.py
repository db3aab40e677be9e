"""Templates and style sheets of pages: what every HTML page of a run or of several shares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nextpatch.core.errors import UserError
from nextpatch.core.text import format_bytes, format_duration
from nextpatch.tasks.report.axes import number
from nextpatch.tasks.report.depth import layers_text

_HERE = Path(__file__).parent


class ReportError(UserError):
    """The page cannot be drawn here; the message says what to install."""


def need_jinja() -> None:
    """ReportError, which says what to install, when no page can be drawn here."""
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise ReportError("the page needs Jinja2; install it with: pip install 'nextpatch[report]'") from None


def templates(folder: Path = _HERE) -> Any:
    """The templates of a folder, which may use those of the report (macros.html); everything is escaped."""
    need_jinja()
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, _HERE]), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(number=number, duration=format_duration, size=format_bytes, layers=layers_text)
    return environment


def page_css() -> str:
    """The style sheet of a page: colours, charts, and what stands around them."""
    return chart_css() + (_HERE / "page.css").read_text(encoding="utf-8")


def chart_css() -> str:
    """The colours, light and dark, and the look of charts."""
    return (_HERE / "chart.css").read_text(encoding="utf-8")
