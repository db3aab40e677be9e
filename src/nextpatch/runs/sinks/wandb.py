"""Weights & Biases: online where the user has logged in or says so by WANDB_MODE, else in the run's folder wandb/."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any

from nextpatch.runs.sinks.sink import Session, flat

_INIT_S = 30.0  # the longest that a server which does not answer may hold up the start


class WeightsAndBiases:
    """Numbers as "kind/name" over "step"; WANDB_PROJECT, WANDB_ENTITY and the like count as always."""

    replaces = False

    def __init__(self, session: Session) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # no crash of theirs is reported unasked
        import wandb

        self.run_id = session.run_id or uuid.uuid4().hex[:12]
        mode: Any = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "nextpatch"), name=session.path.resolve().name, id=self.run_id,
            resume="allow", mode=mode, dir=session.path, config=flat(session.values),
            settings=wandb.Settings(console="off", silent=True, init_timeout=_INIT_S),
        )  # fmt: skip
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")  # their own step would refuse a second entry of one of ours

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """A row of their history."""
        self._run.log({**{f"{kind}/{name}": value for name, value in values.items()}, "step": step})

    def close(self) -> None:
        """Send what is left."""
        self._run.finish()


def open_sink(session: Session) -> WeightsAndBiases:
    """The run of this id, which goes on where there is one."""
    return WeightsAndBiases(session)
