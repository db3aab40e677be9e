"""Throughput and what a person sees."""

import io

import pytest
from rich.console import Console

from nextpatch.train.progress import Display, Throughput


def test_throughput_leaves_out_paused_time():
    now = [0.0]
    throughput = Throughput(clock=lambda: now[0])
    throughput.add(100)
    now[0] = 2.0
    with throughput.paused():
        now[0] = 50.0
    assert throughput.take() == pytest.approx(50.0)
    throughput.add(30)
    now[0] = 51.0
    assert throughput.take() == pytest.approx(30.0)


def test_off_a_terminal_figures_are_plain_lines():
    out = io.StringIO()
    with Display(Console(file=out, width=40), steps=100, batch_size=10) as display:
        display.validated(1.5)
        display.figures(1, loss=2.0, images_per_s=5.0, tflops=0.0123)
        display.figures(2, loss=1.9, images_per_s=5.0, tflops=0.0123)  # too soon after the first
        display.figures(100, loss=1.0, images_per_s=5.0, tflops=0.0123)
        display.validated(1.25)
    first, last = out.getvalue().splitlines()
    assert first == "step 1/100 · loss 2.0000 · val 1.5000 · 5 images/s · 0.0123 TFLOP/s · 3 min 18 s left"
    assert last.startswith("step 100/100 · loss 1.0000")
    assert last.endswith("0 s left")


def test_the_last_line_shows_the_validation_after_the_last_step():
    out = io.StringIO()
    with Display(Console(file=out, width=40), steps=1, batch_size=10) as display:
        display.validated(1.5)
        display.figures(1, loss=2.0, images_per_s=5.0, tflops=1234.5)
        display.validated(1.25)
    assert out.getvalue() == "step 1/1 · loss 2.0000 · val 1.2500 · 5 images/s · 1,234 TFLOP/s · 0 s left\n"


def test_on_a_terminal_the_line_is_live():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with Display(console, steps=5000, batch_size=10) as display:
        display.step(3)
        display.figures(4, loss=2.0, images_per_s=5.0, tflops=0.0123)
    assert "step 4/5,000" in out.getvalue()
    assert "2 h 46 min left" in out.getvalue()
