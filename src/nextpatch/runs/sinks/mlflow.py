"""MLflow: the server of MLFLOW_TRACKING_URI, or else the run's own mlflow.db, a SQLite file."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping

from nextpatch.runs.sinks.sink import Session, flat

_LONGEST = 500  # characters of a value, which every store takes
_AT_ONCE = 100  # params in a call, which is the most that MLflow takes
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}  # else minutes at the start


class MLflow:
    """Numbers as metrics "kind/name" of one MLflow run; what is not finite is left out, which not every store takes."""

    replaces = False

    def __init__(self, session: Session) -> None:
        for name, value in {"MLFLOW_DISABLE_TELEMETRY": "true", **_PATIENCE}.items():
            os.environ.setdefault(name, value)
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of each table that it makes
        own, self._metric = session.path.resolve(), Metric
        uri = os.environ.get("MLFLOW_TRACKING_URI", "")
        self._client = MlflowClient(uri or f"sqlite:///{own / 'mlflow.db'}")
        self.run_id = session.run_id
        if self.run_id:
            self._client.update_run(self.run_id, status="RUNNING")
            return
        title = os.environ.get("MLFLOW_EXPERIMENT_NAME", "nextpatch")
        known = self._client.get_experiment_by_name(title)
        artifacts = None if uri else (own / "mlflow-artifacts").as_uri()
        experiment = known.experiment_id if known else self._client.create_experiment(title, artifacts)
        self.run_id = self._client.create_run(experiment, run_name=own.name).info.run_id
        params = [Param(name, value[:_LONGEST]) for name, value in flat(session.values).items()]
        for start in range(0, len(params), _AT_ONCE):
            self._client.log_batch(self.run_id, params=params[start : start + _AT_ONCE])

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """A point of each metric."""
        now_ms = int(time.time() * 1000)
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        points = [self._metric(f"{kind}/{name}", value, now_ms, step) for name, value in finite.items()]
        self._client.log_batch(self.run_id, metrics=points)

    def close(self) -> None:
        """Say that this session is over."""
        self._client.set_terminated(self.run_id)


def open_sink(session: Session) -> MLflow:
    """The run of this id, or a new one."""
    return MLflow(session)
