"""One flag per field of a verb and of the configs in it: its name, type, default and docstring are the field's."""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass, make_dataclass
from typing import Annotated, Any, NamedTuple, Optional, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from nextpatch.cli.words import not_zero, placeholder, plain, read_as, said
from nextpatch.core.errors import ConfigError
from nextpatch.core.fields import field_docs
from nextpatch.runs.recipe import Recipe

_TAKEN = re.compile(r" \((default:|chosen|short for) [^()]*\)$")
_OWN = "own"


@dataclass(frozen=True)
class Typed:
    """Stands in the `Annotated` type of a verb's dict: what was typed of this config's fields, or of `only` some.

    Configs in it become tables: --TABLE.FIELD. What was not typed is absent; `otherwise` says what is taken then.
    """

    config: type
    only: tuple[str, ...] = ()
    otherwise: str = ""


@dataclass(frozen=True)
class ShortFor:
    """Stands in the `Annotated` type of a verb's field: it is the value of a recipe at this path, as "train.steps"."""

    path: str


class _Item(NamedTuple):
    """A field as its class states it."""

    field: Field[Any]
    hint: Any  # with what Annotated adds
    doc: str

    @property
    def default(self) -> Any:
        """The value without a flag, or MISSING."""
        made = self.field.default_factory
        return self.field.default if made is MISSING else made()

    def mark(self, kind: type) -> Any:
        """What the type says that is of this kind, or None."""
        inner = get_args(self.hint) if get_origin(self.hint) is Annotated else ()
        return next((found for found in inner if isinstance(found, kind)), None)


def parse(verb: type, program: str, words: Sequence[str]) -> Any:
    """The verb's dataclass as these words fill it; SystemExit for --help and for words that it does not know."""
    found = tyro.cli(arguments(verb), prog=program, description=_wrapped(verb.__doc__ or ""), args=list(words))
    values = defaultdict[str, Any](dict)
    for name, value in _without_none(asdict(found)).items():
        place, _, inner = name.partition("__")
        values[place][inner] = value
    made = values.pop(_OWN, {})
    for item in _items(verb):
        if item.mark(Typed):
            made[item.field.name] = values[item.field.name]
        elif is_dataclass(plain(item.hint)):
            made[item.field.name] = plain(item.hint)(**values[item.field.name])
    return verb(**made)


def arguments(verb: type) -> Any:
    """The dataclass that tyro reads; every value in it that may be left out is None until it is typed."""
    tables = [mark for item in _items(verb) if (mark := item.mark(Typed))]
    made: list[Any] = []
    for item in _items(verb):
        name, kind = item.field.name, plain(item.hint)
        if mark := item.mark(Typed):
            parts = [inner for inner in _items(mark.config) if not mark.only or inner.field.name in mark.only]
            made += [_typed_part(f"{name}__", inner, mark) for inner in parts]
        elif is_dataclass(kind):
            made += [_flag(f"{name}__", inner) for inner in _items(kind)]
        elif mark := item.mark(ShortFor):
            made.append(_short(item, mark, tables))
        else:
            made.append(_flag(f"{_OWN}__", item))
    return make_dataclass(verb.__name__, made, kw_only=True, frozen=True)


def stated(args: Any, typed: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of what was typed, with every `ShortFor` of the verb in its place; ConfigError for one said twice."""
    tables = {name: dict(values) for name, values in typed.items()}
    for item in _items(type(args)):
        value = getattr(args, item.field.name)
        if (mark := item.mark(ShortFor)) and value != item.default:
            table, _, name = mark.path.partition(".")
            if name in tables.setdefault(table, {}):
                flag = item.field.name.replace("_", "-")
                raise ConfigError(f"--{flag} and --{mark.path} say the same thing; give one of them")
            tables[table][name] = value
    return tables


def summary(doc: str) -> str:
    """The help in a docstring: its first paragraph, as one line without a full stop; what follows is for Python."""
    return " ".join(doc.split("\n\n")[0].split()).removesuffix(".")


def _wrapped(doc: str) -> str:
    """The docstring of a verb, as wide as the terminal, commands whole; tyro joins lines that begin with a letter."""
    width = shutil.get_terminal_size().columns
    texts = inspect.cleandoc(doc).split("\n\n")
    filled = [textwrap.fill(" ".join(text.split()), width, subsequent_indent="  ") for text in texts]
    return "\n\n".join(text if "\n " in text else wide for text, wide in zip(texts, filled, strict=True))


def _items(config: Any) -> list[_Item]:
    """The fields; those that may be given by keyword alone, as inherited options, come last."""
    hints, docs = get_type_hints(config, include_extras=True), field_docs(config)
    found = [_Item(item, hints[item.name], docs.get(item.name, "")) for item in fields(config)]
    return sorted(found, key=lambda item: item.field.kw_only is True)


def _typed_part(prefix: str, item: _Item, mark: Typed) -> Any:
    """A flag without a default, or a table of such flags."""
    kind = plain(item.hint)
    if not is_dataclass(kind):
        return _flag(prefix, item, mark.otherwise and f"(default: {mark.otherwise})", typed=True)
    table = make_dataclass(item.field.name, [_flag("", inner, typed=True) for inner in _items(kind)], frozen=True)
    return f"{prefix}{item.field.name}", Annotated[table, arg(name=item.field.name)], field(default_factory=table)


def _short(item: _Item, mark: ShortFor, tables: Sequence[Typed]) -> Any:
    """A flag for a value of a recipe: its help is that value's, where it has none itself."""
    table, _, name = mark.path.partition(".")
    same = next(value for value in _items(get_type_hints(Recipe)[table]) if value.field.name == name)
    if any(typed.config is Recipe and (not typed.only or table in typed.only) for typed in tables):
        taken = f"(short for --{mark.path.replace('_', '-')})"
    else:
        taken = _default_text(_help(same.doc, "", ""), same.default)
    return _flag(f"{_OWN}__", item._replace(doc=item.doc or same.doc), taken)


def _flag(prefix: str, item: _Item, taken: str = "", typed: bool = False) -> Any:
    """The item of `make_dataclass` for one field. `taken` says what is taken without the flag.

    Of a `typed` one nothing is required, and True and False are words, as in a recipe.
    """
    flag, default, kind = said(item.hint), item.default, plain(item.hint)
    name, text = f"{prefix}{item.field.name}", _help(item.doc, flag.forms, taken)
    if kind is bool and not typed:
        shown = arg(
            name=flag.name or item.field.name, help=text, help_behavior_hint="(default: True)" if default else ""
        )
        return name, Annotated[bool if default else FlagCreatePairsOff[bool], shown], field(default=default)
    needed, word = default is MISSING and not typed, placeholder(item.hint)
    word = word.removesuffix(" ...") if flag.repeated else word
    shown = arg(
        name=flag.name or item.field.name, help=text, metavar=f"[{word}]" if flag.positional and not needed else word,
        help_behavior_hint="(required)" if needed else _default_text(text, default),
        aliases=(flag.short,) if flag.short else None,
    )  # fmt: skip
    if flag.repeated:
        return name, Annotated[UseAppendAction[tuple[str, ...]], shown], field(default=())
    zero = default is MISSING if typed else type(default) in (int, float) and default == 0
    spec = not_zero(read_as(item.hint)) if zero and _TAKEN.search(text) else read_as(item.hint)
    hint: Any = Annotated[kind if needed else Optional[kind], shown, spec]  # noqa: UP045
    return name, Annotated[hint, Positional] if flag.positional else hint, field() if needed else field(default=None)


def _help(doc: str, forms: str, taken: str) -> str:
    """The summary of a docstring, what can be written, and in brackets what is taken without the flag."""
    text = summary(doc)
    ending = _TAKEN.search(text)
    body, said_there = (text[: ending.start()], ending[0].strip()) if ending else (text, "")
    return " ".join(filter(None, (f"{body}: {forms}" if forms else body, taken or said_there)))


def _default_text(text: str, default: Any) -> str:
    """What is shown as the default; nothing where the help says what is taken, or where the default is empty."""
    if _TAKEN.search(text) or default is MISSING or default is None or default in ("", ()):
        return ""
    values = default if isinstance(default, tuple) else (str(default),)
    return f"(default: {' '.join(v if isinstance(v, str) else f'{v:g}' for v in values)})"


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    plain = {k: _without_none(v) if isinstance(v, dict) else v for k, v in values.items()}
    return {k: v for k, v in plain.items() if v is not None and v != {}}
