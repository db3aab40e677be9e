"""One flag per value of a recipe, each without a default, so that what was typed can be told from what was not."""

from __future__ import annotations

import re
from dataclasses import asdict, field, fields, is_dataclass, make_dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Optional, Union, get_args, get_origin, get_type_hints

from tyro.conf import arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from nextpatch.core.fields import field_docs
from nextpatch.core.text import shown as shown_text
from nextpatch.data.preprocessing import Layout


def optional(metavar: str, text: str, name: str | None = None) -> Any:
    """An argument that may be left out; its help shows no default."""
    return arg(name=name, metavar=metavar or None, help=text, help_behavior_hint="")


def img_size() -> tuple[Any, Any]:
    """The flag --img-size, of one meaning in every verb that takes weights."""
    text = "height and width that the model sees, multiples of its patch size (default: as the weights say)"
    return optional("H W", text), read_as(tuple[int, int])


def pixel_range() -> tuple[Any, Any]:
    """The flag --pixel-range."""
    text = "values that become black and white in images of more than 8 bits (default: as the weights say)"
    return optional("LOW HIGH", text), read_as(tuple[float, float])


def layout() -> tuple[Any, Any]:
    """The flag --layout."""
    return optional("AXES", "of arrays: channels_last or channels_first (default: as the weights say)"), read_as(Layout)


def flag_table(config: type) -> Any:
    """A dataclass like `config` in which every value may be None (not typed), with its docstrings as help."""
    hints, docs, items = get_type_hints(config), field_docs(config), []
    for item in fields(config):
        hint = hints[item.name]
        if isinstance(hint, type) and is_dataclass(hint):
            table = flag_table(hint)
            items.append((item.name, table, field(default_factory=table)))
        else:
            text = summary(docs.get(item.name, ""))
            shown = arg(help=text, metavar=_metavar(hint), help_behavior_hint=_default_text(text, item.default))
            items.append((item.name, Annotated[Optional[hint], shown, read_as(hint)], field(default=None)))  # noqa: UP045
    return make_dataclass(config.__name__, items, frozen=True)


def typed(tables: Any) -> dict[str, Any]:
    """What was typed, as nested plain values; tables of which nothing was typed are left out."""
    return _without_none(asdict(tables))


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    plain = {k: _without_none(v) if isinstance(v, dict) else v for k, v in values.items()}
    return {k: v for k, v in plain.items() if v is not None and v != {}}


def read_as(hint: Any) -> PrimitiveConstructorSpec[Any]:
    """How the words behind a flag become its value; without this a wrong one would be told in Python's terms."""
    parts = get_args(hint) if get_origin(hint) is tuple else (hint,)
    several = get_origin(hint) is tuple
    count: Any = "*" if ... in parts else len(parts)

    def value(words: list[str]) -> Any:
        kinds = (parts[0],) * len(words) if ... in parts else parts
        found = tuple(_one(word, kind) for word, kind in zip(words, kinds, strict=True))
        return found if several else found[0]

    return PrimitiveConstructorSpec(
        nargs=count, metavar=_metavar(hint), instance_from_str=value, is_instance=lambda given: True,
        str_from_instance=lambda given: [] if given is None else [str(v) for v in (given if several else (given,))],
    )  # fmt: skip


def words_of_ours() -> ConstructorRegistry:
    """How every flag of numbers, or of several values, is read that says nothing of it: by `read_as`, too."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def _numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        given = [kind for kind in get_args(info.type) if kind is not NoneType]
        hint = given[0] if get_origin(info.type) in (Union, UnionType) and len(given) == 1 else info.type
        several = get_origin(hint) is tuple and str not in get_args(hint)
        return read_as(hint) if hint in (int, float) or several else None

    return registry


def chosen(kind: Any) -> PrimitiveConstructorSpec[Any]:
    """How a number is read that is chosen where it is left out: a 0 that was typed would silently mean the same."""
    plain = read_as(kind)

    def value(words: list[str]) -> Any:
        found = plain.instance_from_str(words)
        if found == 0:
            raise ValueError("needs a number above 0, got 0; leave it out for what is chosen")
        return found

    return replace(plain, instance_from_str=value)


def _one(word: str, kind: Any) -> Any:
    choices = get_args(kind) or (("True", "False") if kind is bool else ())
    if choices and word not in choices:
        raise ValueError(f"needs one of {', '.join(choices)}, got '{shown_text(word)}'")
    if kind is bool:
        return word == "True"
    if choices or kind is str:
        return word
    try:
        return kind(word)
    except ValueError:
        named = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
        raise ValueError(f"needs {named}, got '{shown_text(word)}'") from None


def _metavar(hint: Any) -> str:
    """How the value is written: INT, FLOAT FLOAT, {a,b}."""
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        return f"{_metavar(parts[0])} ..." if ... in parts else " ".join(map(_metavar, parts))
    choices = get_args(hint)
    return "{" + ",".join(choices) + "}" if choices else str(hint.__name__).upper()


def summary(doc: str) -> str:
    """The help in a docstring: its first paragraph, as one line without a full stop; what follows is for Python."""
    return " ".join(doc.split("\n\n")[0].split()).removesuffix(".")


def _default_text(text: str, default: Any) -> str:
    """What is shown as the default; nothing where the help says in brackets what is taken, or where it is empty."""
    if re.search(r"\((default:|chosen) [^()]*\)$", text) or default in ("", ()):
        return ""
    shown = " ".join(map(_written, default)) if isinstance(default, tuple) else default
    return f"(default: {shown})"


def _written(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"
