"""The page in Chromium: no console message, no request leaves the file, it fits a phone and a desk, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser import Browser, browser, lightness
from nextpatch.tasks.report.build import write_report

__all__ = ["browser"]  # the fixture
pytestmark = pytest.mark.browser


def test_the_page_loads_alone_and_fits_everywhere(browser: Browser, run: Path) -> None:
    page = write_report(run).page
    for width in (390, 1280):
        for dark in (False, True):
            browser.open(page, width, dark)
            assert browser.trouble() == []
            assert [url for url in browser.requests() if not url.startswith("data:")] == [page.as_uri()]
            assert browser.value("document.documentElement.scrollWidth") <= width
            assert browser.value("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            assert browser.value("document.images.length") > 0


def test_light_and_dark_differ_and_text_stands_out_in_both(browser: Browser, run: Path) -> None:
    page, grounds = write_report(run).page, []
    for dark in (False, True):
        browser.open(page, 1280, dark)
        ground, ink = (
            browser.value(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")
        )
        assert abs(lightness(ground) - lightness(ink)) > 150
        grounds.append(lightness(ground))
    assert grounds[0] > 200
    assert grounds[1] < 60


def test_labels_in_charts_are_readable_on_a_phone(browser: Browser, run: Path) -> None:
    browser.open(write_report(run).page, 390, False)
    smallest = (
        "Math.min(...[...document.querySelectorAll('svg.chart text')].map(t => t.getBoundingClientRect().height))"
    )
    assert browser.value(smallest) >= 10


def test_these_checks_see_a_request_and_an_error(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<img src='http://127.0.0.1:9/x.png'><script>console.error('no')</script>")
    browser.open(page, 390, False)
    assert "http://127.0.0.1:9/x.png" in browser.requests()
    assert browser.trouble()
