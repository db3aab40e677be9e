"""A study's page in Chromium: it loads alone, fits a phone and a wide screen, and its words stand beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser import Browser, browser, lightness
from nextpatch.study.outputs import write_outputs
from studied import finished, not_begun, under_way

__all__ = ["browser"]  # the fixture
pytestmark = pytest.mark.browser

_TOUCHING = """
[...document.querySelectorAll('svg.chart')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
  return boxes.flatMap(([a, r], i) => boxes.slice(i + 1).filter(([b, q]) =>
    r.left < q.right && q.left < r.right && r.top < q.bottom - 3 && q.top < r.bottom - 3).map(([b]) => a + ' | ' + b));
})
"""
_OUTSIDE = """
[...document.querySelectorAll('svg.chart')].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(t => t.getBoundingClientRect().right > frame.right + 1
    || t.getBoundingClientRect().left < frame.left - 1).map(t => t.textContent);
})
"""


def test_the_page_loads_alone_and_fits_everywhere(browser: Browser, tmp_path: Path) -> None:
    for name, result in (("a", finished()), ("b", under_way()), ("c", not_begun())):
        page = write_outputs(result, tmp_path / name)
        for width, dark in ((400, False), (400, True), (1600, False), (1600, True)):
            browser.open(page, width, dark)
            assert browser.trouble() == []
            assert [url for url in browser.requests() if not url.startswith("data:")] == [page.as_uri()]
            assert browser.value("document.documentElement.scrollWidth") <= width
            assert browser.value(_TOUCHING) == []
            assert browser.value(_OUTSIDE) == []


def test_text_stands_out_and_is_readable(browser: Browser, tmp_path: Path) -> None:
    page = write_outputs(under_way(), tmp_path)
    for dark in (False, True):
        browser.open(page, 400, dark)
        ground, ink = (
            browser.value(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")
        )
        assert abs(lightness(ground) - lightness(ink)) > 150
    smallest = (
        "Math.min(...[...document.querySelectorAll('svg.chart text')].map(t => t.getBoundingClientRect().height))"
    )
    assert browser.value(smallest) >= 10


def test_a_chart_of_its_own_is_a_picture(browser: Browser, tmp_path: Path) -> None:
    write_outputs(finished(), tmp_path)
    for path in sorted((tmp_path / "figures").iterdir()):
        browser.open(path, 800, False)
        assert browser.trouble() == []
        assert browser.value("document.documentElement.tagName") == "svg"
        assert browser.value("document.documentElement.getBoundingClientRect().height") > 100
