from __future__ import annotations

import logging
from pathlib import Path

import pytest

from nextpatch.core.text import ShownRecord, plain, storable


def test_lines_of_the_log_show_names_and_stay_lines():
    words = ("\x1b[31mred\nINFO forged", Path("caf\udce9"))
    record = ShownRecord("nextpatch", logging.INFO, "", 1, "skipped %s\nin %s, %d", (*words, 3), None)
    assert record.getMessage() == "skipped \\x1b[31mred\\x0aINFO forged\nin caf\\xe9, 3"
    assert storable("caf\udce9 ü\n") == "caf\\udce9 ü\n"


@pytest.mark.parametrize(("number", "said"), [(370.4, "370"), (99.7, "100"), (12.34, "12"), (0.123, "0.12")])
def test_a_large_number_is_no_power_of_ten(number, said):
    assert plain(number) == said
