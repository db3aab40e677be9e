"""The names of the metric sinks, and whether they can be used here (no torch, no service: `--help` reads this)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Literal, get_args

from nextpatch.core.errors import ConfigError

log = logging.getLogger(__name__)
SinkName = Literal["auto", "tensorboard", "wandb", "mlflow", "trackio"]  # a sink is the module of its name, beside this


def check_names(names: Sequence[str]) -> None:
    """ConfigError for what is no sink's name."""
    if unknown := [name for name in names if name not in get_args(SinkName)]:
        raise ConfigError(f"there is no metric sink {unknown[0]!r}; there are {', '.join(get_args(SinkName))}")


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """The sinks that `names` mean here, each once: "auto" is TensorBoard where it is installed.

    ConfigError, before any work begins, for a package that is not installed.
    """
    if missing := [name for name in names if name != "auto" and find_spec(name) is None]:
        raise ConfigError(
            f"the metric sink {missing[0]} is not installed; install it with: pip install 'nextpatch[{missing[0]}]', "
            "or leave it out of the sinks"
        )
    if "auto" in names and find_spec("tensorboard") is None:
        log.info("no TensorBoard log: not installed (pip install 'nextpatch[tensorboard]')")
    meant = ["tensorboard" if name == "auto" else name for name in names if name != "auto" or find_spec("tensorboard")]
    return tuple(dict.fromkeys(meant))
