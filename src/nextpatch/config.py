"""Values in, values out: strict reading and writing of frozen dataclasses as TOML.

A recipe holds values only: no class names, no inheritance, no interpolation. An unknown key, a wrong type or a missing
file is a `ConfigError` that says where and what to do.
"""

from __future__ import annotations

import difflib
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import cattrs
import tomli_w
from cattrs import AttributeValidationNote, IterableValidationNote
from cattrs.errors import ClassValidationError, IterableValidationError, StructureHandlerNotFoundError

from nextpatch.core import reading
from nextpatch.core.errors import ConfigError as ConfigError

T = TypeVar("T")
N = TypeVar("N")


def _exact(kind: type) -> Any:
    """A structure hook that accepts `kind` only: cattrs alone would turn 3.7 into 3 and "no" into True."""

    def structure(value: Any, _: Any) -> Any:
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise TypeError(f"needs {kind.__name__}, got {type(value).__name__} {value!r}")
        return value

    return structure


def _unmarked(kind: Any) -> Any:
    """The type of a tuple of many without what `Annotated` says of its values."""
    origin: Any = get_origin(kind)
    inner = get_args(kind) if origin is tuple else ()
    return origin[inner[0].__origin__, ...] if ... in inner and get_origin(inner[0]) is Annotated else kind


def _texts(value: Any, _: Any) -> tuple[str, ...]:
    """Any number of texts; a single one stands for itself."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)) or not all(isinstance(entry, str) for entry in values):
        raise TypeError(f"needs a text or a list of texts, got {value!r}")
    return tuple(values)


def _text_or_path(value: Any, _: Any) -> str:
    """What may be typed as a name or as a path: a text."""
    if not isinstance(value, str):
        raise TypeError(f"needs a text, got {type(value).__name__} {value!r}")
    return value


def _strict(forbid_extra_keys: bool) -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=forbid_extra_keys)
    for kind in (int, float, bool, str):
        converter.register_structure_hook(kind, _exact(kind))
    converter.register_structure_hook_func(lambda kind: _unmarked(kind) == tuple[str, ...], _texts)
    converter.register_structure_hook_func(lambda kind: kind == str | Path, _text_or_path)
    return converter


_converter, _tolerant = _strict(forbid_extra_keys=True), _strict(forbid_extra_keys=False)


def from_dict(cls: type[T], values: dict[str, Any], where: str = "recipe", extra_keys: bool = False) -> T:
    """Build the dataclass `cls` from nested dicts; wrong types raise `ConfigError`.

    Unknown keys do as well, unless `extra_keys`: results of a later version may say more than is read here.
    """
    if not extra_keys:
        _reject_unknown(cls, values, where, "")
    try:
        return (_tolerant if extra_keys else _converter).structure(values, cls)
    except (ClassValidationError, IterableValidationError) as error:
        raise ConfigError(f"{where}: {'; '.join(_leaves(error, ''))}") from None
    except (TypeError, ValueError, StructureHandlerNotFoundError) as error:
        raise ConfigError(f"{where}: {error}") from None


def _reject_unknown(cls: type, values: Any, where: str, path: str) -> None:
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: '{path.rstrip('.')}' needs a table, got {type(values).__name__}")
    hints, known = get_type_hints(cls), [f.name for f in fields(cls)]
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            advice = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key '{path}{key}'; {advice}")
        if is_dataclass(hints[key]):
            _reject_unknown(hints[key], value, where, f"{path}{key}.")


def _leaves(error: BaseException, path: str) -> list[str]:
    """The messages at the leaves of cattrs' exception tree, each with the dotted key it belongs to."""
    if isinstance(error, ClassValidationError):
        pairs = [(inner, note.name if note else "") for inner, note in _noted(error, AttributeValidationNote)]
    elif isinstance(error, IterableValidationError):
        pairs = [(inner, f"[{note.index}]" if note else "") for inner, note in _noted(error, IterableValidationNote)]
    elif path and isinstance(error, ConfigError):  # of a whole table: it names the value by itself
        return [f"{path}: {error}"]
    elif isinstance(error, KeyError):  # of a value without a default
        return [f"'{path}' is missing"]
    else:
        return [f"'{path}' {error}" if path else str(error)]
    return [leaf for inner, step in pairs for leaf in _leaves(inner, _join(path, step))]


def _noted(error: BaseExceptionGroup[BaseException], kind: type[N]) -> list[tuple[BaseException, N | None]]:
    return [
        (inner, next((note for note in getattr(inner, "__notes__", []) if isinstance(note, kind)), None))
        for inner in error.exceptions
    ]


def _join(path: str, step: str) -> str:
    return path + step if not path or not step or step.startswith("[") else f"{path}.{step}"


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain values (tuples become lists), ready for TOML or JSON."""
    return {k: _plain(v) for k, v in asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def read_toml(path: Path) -> dict[str, Any]:
    """The file's values; `ConfigError` names the file when it is absent or is not TOML."""
    return reading.read_toml(path, "a recipe in TOML", "give the path of a whole .toml file", ConfigError)


def dumps_toml(values: dict[str, Any]) -> str:
    """TOML text of nested plain values."""
    return tomli_w.dumps(values)
