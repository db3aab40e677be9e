"""Checks of configuration values: every one of its own kind, every number finite and inside its bounds."""

from __future__ import annotations

import math
from dataclasses import is_dataclass
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from nextpatch.core.errors import ConfigError
from nextpatch.core.text import shown

COUNT = (0, 10**12)  # of anything that is counted through and not held: steps, images, epochs
SEED = (0, 2**63 - 1)
WORKERS = (0, 512)  # processes; each holds Python and torch
BATCH = (0, 2**20)  # images
EPOCHS = (0, 10**6)
RATE = (0.0, 1e6)  # learning rates, decays, norms
SHARE = (0.0, 1.0)
SIDE = (1, 2**14)  # pixels


def check_bounds(config: Any, **bounds: tuple[float, float]) -> None:
    """ConfigError naming the first field of `config` that is not of its kind, not finite or outside of [low, high].

    Each keyword is a field's name with its bounds, both allowed. A field may be a number, None (passes), or a tuple of
    numbers, each of which is checked. Call it in `__post_init__`.
    """
    if is_dataclass(config):
        check_kinds(config)
    for name, (low, high) in bounds.items():
        value = getattr(config, name)
        for number in value if isinstance(value, (tuple, list)) else (value,):
            if number is not None and not _inside(number, low, high):
                raise ConfigError(f"{name} {_written(number)} must lie between {_written(low)} and {_written(high)}")


def check_kinds(config: Any) -> None:
    """ConfigError naming the first field of a dataclass whose value is not of the kind that its annotation says."""
    for name, kind in _kinds(config.__class__).items():
        value = getattr(config, name)
        if not _is(value, kind):
            raise ConfigError(f"{name} needs {_name(kind)}, got {type(value).__name__} {shown(repr(value)[:100])}")


@cache
def _kinds(cls: type) -> dict[str, Any]:
    return {name: kind for name, kind in get_type_hints(cls).items() if name in cls.__dataclass_fields__}  # type: ignore[attr-defined]


def _is(value: Any, kind: Any) -> bool:
    """Whether `value` is of `kind`: as the annotation says, but a whole number is a float and a list a tuple, too."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_is(value, one) for one in inner)
    if origin is Literal:
        return value in inner and type(value) is not bool
    if origin is tuple:
        if not isinstance(value, (tuple, list)) or (... not in inner and len(value) != len(inner)):
            return False
        kinds = (inner[0],) * len(value) if ... in inner else inner
        return all(_is(one, needed) for one, needed in zip(value, kinds, strict=True))
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    return not isinstance(kind, type) or isinstance(value, kind)


def _name(kind: Any) -> str:
    inner = get_args(kind)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_name, inner))
    if get_origin(kind) is tuple:
        return f"values that are each {_name(inner[0])}" if ... in inner else f"{len(inner)} x {_name(inner[0])}"
    return "nothing" if kind is NoneType else str(getattr(kind, "__name__", kind))


def _inside(number: Any, low: float, high: float) -> bool:
    return not (isinstance(number, float) and math.isnan(number)) and low <= number <= high and abs(number) < math.inf


def _written(number: float) -> str:
    if isinstance(number, int):
        return str(number) if abs(number) < 10**15 else f"{float(min(abs(number), 10**300)):.3g}"
    return f"{number:.6g}"
