"""A table shows its cells in every form, whatever is in them."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from nextpatch.core.errors import UserError
from nextpatch.measure.table import Table, data_frame

TABLE = Table("Accuracy", ["probe", "top-1"], [["<b>knn", "9.5"], ["[red]linear\x1b[2J", "10.0"]], "of 3 images")


def test_numbers_are_set_to_the_right_and_words_to_the_left() -> None:
    assert str(Table("T", ["probe", "top-1"], [["knn", "9.5"], ["linear", "10.0"]])).splitlines() == [
        "T",
        "probe   top-1",
        "knn       9.5",
        "linear   10.0",
    ]


def test_html_escapes_every_text() -> None:
    html = Table("<i>", ["<th>"], [["<script>"]], "a & b")._repr_html_()
    for text in ("&lt;i&gt;", "&lt;th&gt;", "&lt;script&gt;", "a &amp; b"):
        assert text in html
    assert "<script" not in html


def test_a_terminal_is_sent_no_markup_and_no_escape_of_a_name() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(TABLE)
    for text in (str(TABLE), console.file.getvalue()):  # type: ignore[attr-defined]
        assert "[red]linear\\x1b" in text
        assert "\x1b" not in text
        assert "Accuracy" in text
        assert "of 3 images" in text


def test_a_data_frame_is_made_of_plain_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))
    assert data_frame([{"labels": 9}]) == [{"labels": 9}]


def test_without_pandas_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match="pip install pandas"):
        data_frame([])
