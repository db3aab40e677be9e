"""A table for people: as text, as HTML for notebooks and for a terminal, from one set of cells; and data frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from rich.markup import escape as escape_markup
from rich.table import Table as RichTable

from nextpatch.core.errors import UserError
from nextpatch.core.text import shown, shown_lines

_NUMERIC = "0123456789+-−–"


@dataclass(frozen=True)
class Table:
    """Cells that are text already. Columns in which every cell begins as a number does are set to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def __str__(self) -> str:
        """Columns of equal width, separated by two spaces."""
        lines = [[shown(cell) for cell in line] for line in (self.columns, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        body = ["  ".join(map(_padded, line, widths, self._right())).rstrip() for line in lines]
        return "\n".join([*_lines(self.title), *body, *_lines(self.note)])

    def _repr_html_(self) -> str:
        """A table with a caption; every text is escaped."""
        sides = ["right" if right else "left" for right in self._right()]
        head = "".join(map(_cell("th"), self.columns, sides))
        body = "".join(f"<tr>{''.join(map(_cell('td'), row, sides))}</tr>" for row in self.rows)
        caption = f"<caption>{escape(self.title)}</caption>" if self.title else ""
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"

    def __rich__(self) -> RichTable:
        """What a rich console prints."""
        found = RichTable(title=_plain(self.title), caption=_plain(self.note))
        for column, right in zip(self.columns, self._right(), strict=True):
            found.add_column(_plain(column) or "", justify="right" if right else "left")
        for row in self.rows:
            found.add_row(*map(_plain, row))
        return found

    def _right(self) -> list[bool]:
        """Of each column, whether it is set to the right."""
        return [all(row[i][:1] in _NUMERIC for row in self.rows) for i in range(len(self.columns))]


def data_frame(records: Sequence[Mapping[str, Any]]) -> Any:
    """A pandas.DataFrame with one row per record; UserError, which says what to install, when pandas is absent."""
    try:
        import pandas
    except ImportError:
        raise UserError("a data frame needs pandas; install it with: pip install pandas") from None
    return pandas.DataFrame([dict(record) for record in records])


def _lines(text: str) -> list[str]:
    return [shown_lines(text)] if text else []


def _padded(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)


def _cell(tag: str) -> Any:
    return lambda text, side: f'<{tag} style="text-align:{side}">{escape(text)}</{tag}>'


def _plain(text: str) -> str | None:
    return escape_markup(shown_lines(text)) if text else None
