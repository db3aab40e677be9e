"""Trackio: its own local folder (TRACKIO_DIR), or the Space or server that its environment variables name."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Mapping
from typing import Any

from nextpatch.runs.sinks.sink import Session, flat


class Trackio:
    """Numbers as "kind/name" of one run of the project nextpatch (TRACKIO_PROJECT), known by its name."""

    replaces = False

    def __init__(self, session: Session) -> None:
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        import trackio

        self.run_id = session.run_id or f"{session.path.resolve().name}-{uuid.uuid4().hex[:8]}"
        with contextlib.redirect_stdout(None):  # it prints advice, in the middle of ours
            self._run: Any = trackio.init(
                os.environ.get("TRACKIO_PROJECT", "nextpatch"), name=self.run_id, resume="allow", embed=False,
                config=flat(session.values), auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """An entry of theirs."""
        self._run.log({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        """Write what is left."""
        self._run.finish()


def open_sink(session: Session) -> Trackio:
    """The run of this name, which goes on where there is one."""
    return Trackio(session)
