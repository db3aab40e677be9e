"""Values as a notebook has them - of NumPy, of torch, paths - as Python's own, and places for outputs."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nextpatch.core.errors import ConfigError
from nextpatch.core.text import shown


def plain(value: Any) -> Any:
    """A number of NumPy or torch as one of Python, an array as a list; all else as it is."""
    return value.tolist() if isinstance(value, (np.generic, np.ndarray, Tensor)) else value


def out_path(out: Any) -> Path:
    """The place of an output; ConfigError for what names none."""
    name = os.fspath(out) if isinstance(out, os.PathLike) else out
    if not isinstance(name, str):
        raise ConfigError(f"out needs the path of a folder or a file, got {type(out).__name__}")
    if not name.strip() or "\0" in name or not _is_text(name):
        raise ConfigError(f"out '{shown(name)}' names no place; give the path of a folder or a file")
    if any(len(os.fsencode(part)) > 255 for part in Path(name).parts):
        raise ConfigError(f"a name in out is longer than 255 bytes: {shown(name)[:80]}...; give a shorter one")
    return Path(name)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def keywords(function: Callable[..., Any]) -> list[str]:
    """The names that a function takes."""
    kinds = inspect.signature(function).parameters
    return [name for name, one in kinds.items() if one.kind is not inspect.Parameter.VAR_KEYWORD]
