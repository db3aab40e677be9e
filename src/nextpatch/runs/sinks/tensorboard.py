"""TensorBoard's files, in the run's folder tensorboard/."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nextpatch.runs.sinks.sink import Session


class TensorBoard:
    """Numbers as scalars "kind/name"; what a resumed run replays takes the place of what was there."""

    run_id, replaces = "", True

    def __init__(self, session: Session) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purged = session.step + 1 if session.step else None
        self._board: Any = SummaryWriter(str(session.path / "tensorboard"), purge_step=purged)

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """A scalar for each number."""
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Write what is left."""
        self._board.close()


def open_sink(session: Session) -> TensorBoard:
    """The files of this session, which belong to those of the sessions before."""
    return TensorBoard(session)
