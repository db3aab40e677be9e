"""What a person sees while a long pass goes on."""

from __future__ import annotations

import io

from rich.console import Console

from nextpatch.core.progress import Meter


def test_speed_and_time_left_count_this_session_alone() -> None:
    now, out = [0.0], io.StringIO()
    with Meter("pack", 1000, done=400, console=Console(file=out, width=40), clock=lambda: now[0]) as meter:
        meter.add(10)  # too soon to be printed
        now[0] = 20.0
        meter.add(190)
    assert out.getvalue() == "pack 600/1,000 · 10 images/s · 40 s left\n"


def test_on_a_terminal_the_line_is_live() -> None:
    out, now = io.StringIO(), [0.0]
    console = Console(file=out, force_terminal=True, width=120)
    with Meter("index", 8, "shards", console=console, clock=lambda: now[0]) as meter:
        now[0] = 4.0
        meter(2, 8)
    assert "0.5 shards/s" in out.getvalue()
    assert "12 s left" in out.getvalue()
