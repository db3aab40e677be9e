"""How the text after a flag is parsed into a value, and how that value is written in the help."""

from __future__ import annotations

from dataclasses import astuple, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from tyro.constructors import PrimitiveConstructorSpec

from nextpatch.core.fields import Flag
from nextpatch.core.registry import Registry
from nextpatch.core.text import shown


def read_as(hint: Any) -> PrimitiveConstructorSpec[Any]:
    """How the words behind a flag become a value of this type; tyro would explain a wrong one in Python's terms."""
    kind = plain(hint)
    several = get_origin(kind) is tuple
    parts = get_args(kind) if several else (kind,)
    count: Any = "*" if ... in parts else len(parts)

    def value(words: list[str]) -> Any:
        kinds = (parts[0],) * len(words) if ... in parts else parts
        found = tuple(_one(word, kind) for word, kind in zip(words, kinds, strict=True))
        return found if several else found[0]

    return PrimitiveConstructorSpec(
        nargs=count, metavar=placeholder(hint), instance_from_str=value, is_instance=lambda given: True,
        str_from_instance=lambda given: [] if given is None else [str(v) for v in (given if several else (given,))],
    )  # fmt: skip


def not_zero(spec: PrimitiveConstructorSpec[Any]) -> PrimitiveConstructorSpec[Any]:
    """The same for a number that is chosen where it is left out: a 0 that was typed would silently mean the same."""

    def value(words: list[str]) -> Any:
        found = spec.instance_from_str(words)
        if found == 0:
            raise ValueError("needs a number above 0, got 0; leave it out for the default")
        return found

    return replace(spec, instance_from_str=value)


def plain(hint: Any) -> Any:
    """The type without what is said about it, without None, of several the first; of a registry, its names."""
    origin: Any = get_origin(hint)
    inner = get_args(hint)
    if origin is Annotated:
        names = [found for found in inner if isinstance(found, Registry)]
        return Literal[tuple(names[0])] if names else plain(inner[0])
    if origin in (Union, UnionType):
        return plain(next(kind for kind in inner if kind is not NoneType))
    return origin[tuple(part if part is ... else plain(part) for part in inner)] if origin is tuple else hint


def said(hint: Any) -> Flag:
    """All that the type says of its flag; what stands further out prevails."""
    inner = get_args(hint) if get_origin(hint) in (Annotated, Union, UnionType, tuple) else ()
    flags = [found for found in inner if isinstance(found, Flag)]
    flags += [said(part) for part in inner if not isinstance(part, Flag)]
    by_field = zip(*map(astuple, [*flags, Flag()]), strict=True)
    return Flag(*(next(filter(None, values), values[-1]) for values in by_field))


def placeholder(hint: Any) -> str:
    """How the value is written: INT, FLOAT FLOAT, {a,b}, SET ...; the field's own word where it has one."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        words = [found.word for found in inner if isinstance(found, Flag) and found.word]
        named = any(isinstance(found, Registry) for found in inner)
        return words[0] if words else placeholder(plain(hint) if named else inner[0])
    if origin in (Union, UnionType):
        return placeholder(next(kind for kind in inner if kind is not NoneType))
    if origin is tuple:
        return f"{placeholder(inner[0])} ..." if ... in inner else " ".join(map(placeholder, inner))
    return "{" + ",".join(inner) + "}" if inner else str(hint.__name__).upper()


def _one(word: str, kind: Any) -> Any:
    choices = get_args(kind) or (("True", "False") if kind is bool else ())
    if choices and word not in choices:
        raise ValueError(f"needs one of {', '.join(choices)}, got '{shown(word)}'")
    if kind is bool:
        return word == "True"
    if choices or kind is str:
        return word
    try:
        return kind(word)
    except ValueError:
        named = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
        raise ValueError(f"needs {named}, got '{shown(word)}'") from None
