"""Loads what a verb needs: importing PyTorch takes seconds, so progress is shown and Ctrl-C ends it at once."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from importlib import import_module

from nextpatch.core.interrupt import exit_on_interrupt
from nextpatch.core.progress import phase


def loaded(*modules: str) -> None:
    """Import modules of this package by name; off a terminal in silence, as a mistake that follows is one line."""
    shown = os.environ.get("RANK", "0") == "0" and sys.stderr.isatty()
    with exit_on_interrupt(), phase("starting") if shown else nullcontext():
        for name in modules:
            import_module(f"nextpatch.{name}")
