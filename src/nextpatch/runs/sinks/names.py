"""The names of the metric sinks, and whether they can be used here (no torch, no service: `--help` reads this)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Annotated

from nextpatch.core.errors import ConfigError
from nextpatch.core.registry import Registry

log = logging.getLogger(__name__)
# each takes a Session and gives a Sink
SINKS = Registry(
    "metric sink",
    auto="nextpatch.runs.sinks.tensorboard:open_sink",
    tensorboard="nextpatch.runs.sinks.tensorboard:open_sink",
    wandb="nextpatch.runs.sinks.wandb:open_sink",
    mlflow="nextpatch.runs.sinks.mlflow:open_sink",
    trackio="nextpatch.runs.sinks.trackio:open_sink",
)
SinkName = Annotated[str, SINKS]
_EXTRAS = {"tensorboard", "wandb", "mlflow", "trackio"}  # of this package, each the name of the package it brings


def check_names(names: Sequence[str]) -> None:
    """ConfigError for what is no sink's name."""
    for name in names:
        SINKS.check(name)


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """The sinks that `names` mean here, each once: "auto" is TensorBoard where it is installed.

    ConfigError, before any work begins, for a package that is not installed.
    """
    if missing := [name for name in names if name in _EXTRAS and find_spec(name) is None]:
        raise ConfigError(
            f"the metric sink {missing[0]} is not installed; install it with: pip install 'nextpatch[{missing[0]}]', "
            "or leave it out of the sinks"
        )
    if "auto" in names and find_spec("tensorboard") is None:
        log.info("no TensorBoard log: not installed (pip install 'nextpatch[tensorboard]')")
    meant = ["tensorboard" if name == "auto" else name for name in names if name != "auto" or find_spec("tensorboard")]
    return tuple(dict.fromkeys(meant))
