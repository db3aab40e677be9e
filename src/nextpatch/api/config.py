"""The configuration of a task from Python values: a single value may stand for a tuple, a text for a path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from nextpatch.api.given_values import keywords, plain
from nextpatch.config import ConfigError
from nextpatch.core.text import did_you_mean

T = TypeVar("T")


def config_of(kind: type[T], function: Callable[..., Any], /, **values: Any) -> T:
    """The dataclass `kind` of these values, which `function` was given; None leaves a value out.

    ConfigError for a wrong name, kind or number.
    """
    hints = get_type_hints(kind)
    known = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            near = did_you_mean(name, [*known, *keywords(function)])
            raise ConfigError(f"there is no value '{name}'{near} of {kind.__name__}")
    return kind(**{name: _as(value, hints[name]) for name, value in values.items() if value is not None})


def _as(value: Any, hint: Any) -> Any:
    """A single value as a tuple where one is wanted, a text as a path; all else as it is, to be checked."""
    value = plain(value)
    inner = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if any(get_origin(one) is tuple for one in inner):
        return tuple(map(plain, value)) if isinstance(value, (list, tuple, range)) else (value,)
    return Path(value) if Path in inner and str not in inner and isinstance(value, str) else value
