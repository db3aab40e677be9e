"""Ray, joined or begun on this machine, for tasks that hand their work to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nextpatch.core.errors import ConfigError


@contextmanager
def opened_ray() -> Iterator[Any]:
    """The module `ray`, connected to the cluster that $RAY_ADDRESS names, or to one that lives as long as this and is
    reachable from this machine alone. ConfigError, which says what to install, where Ray is absent.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError("--ray needs Ray; install it with: pip install 'nextpatch[ray]'") from None
    begun_here = not ray.is_initialized()
    if begun_here:
        here = {} if os.environ.get("RAY_ADDRESS") else {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
        ray.init(log_to_driver=False, logging_level="ERROR", **here)
    try:
        yield ray
    finally:
        if begun_here:
            ray.shutdown()
