from __future__ import annotations

import logging
from pathlib import Path

import pytest

from nextpatch.core.text import ShownRecord, escape_for_utf8, format_bytes, format_duration, format_flops, plain


def test_lines_of_the_log_show_names_and_stay_lines():
    words = ("\x1b[31mred\nINFO forged", Path("caf\udce9"))
    record = ShownRecord("nextpatch", logging.INFO, "", 1, "skipped %s\nin %s, %d", (*words, 3), None)
    assert record.getMessage() == "skipped \\x1b[31mred\\x0aINFO forged\nin caf\\xe9, 3"
    assert escape_for_utf8("caf\udce9 ü\n") == "caf\\udce9 ü\n"


@pytest.mark.parametrize(("number", "said"), [(370.4, "370"), (99.7, "100"), (12.34, "12"), (0.123, "0.12")])
def test_a_large_number_is_no_power_of_ten(number, said):
    assert plain(number) == said


@pytest.mark.parametrize(("size_bytes", "text"), [(999, "999 B"), (12_300, "12.3 kB"), (2_500_000_000, "2.5 GB")])
def test_file_sizes(size_bytes: int, text: str) -> None:
    assert format_bytes(size_bytes) == text


@pytest.mark.parametrize(
    ("number", "text"), [(10.149e12, "10.149 TFLOP"), (52.13e9, "52.1 GFLOP"), (9_630_000, "9.63 MFLOP")]
)
def test_operations(number: float, text: str) -> None:
    assert format_flops(number) == text


@pytest.mark.parametrize(("seconds", "text"), [(45.4, "45 s"), (468, "7 min 48 s"), (11_100, "3 h 05 min")])
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
