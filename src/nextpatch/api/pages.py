"""HTML pages written after the work is done: one that cannot be written is a warning, not an error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from nextpatch.core.errors import UserError

log = logging.getLogger(__name__)


def try_page(write: Callable[[Path], Path], place: Path) -> Path | None:
    """The page that `write` makes of a folder; None, and a warning, where it cannot."""
    try:
        return write(place)
    except (UserError, OSError) as error:
        log.warning("no report: %s", error)
        return None
