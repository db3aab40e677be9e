"""What a config says of its fields: the docstring under each, which is its flag's help, and how it is typed."""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import dataclass
from functools import cache
from itertools import pairwise


@dataclass(frozen=True)
class Flag:
    """Stands in the `Annotated` type of a field: how a person types it, where name and type leave that open.

    `word` is the placeholder of the value in the help, `forms` what can be written in its place. `name` replaces the
    field's name, and `short`, a dash and a letter, stands beside it. A `positional` value has no flag before it; a
    `repeated` flag adds one value each time.
    """

    word: str = ""
    forms: str = ""
    name: str = ""
    positional: bool = False
    repeated: bool = False
    short: str = ""


def field_docs(config: type) -> dict[str, str]:
    """The docstrings of the fields of a dataclass by name, those of its bases among them.

    They are read from the source code, as Python does not keep them; where there is none, nothing is known of a field.
    """
    found: dict[str, str] = {}
    for base in reversed(config.__mro__):
        found |= _docs_of_module(base.__module__).get(base.__name__, {})
    return found


@cache
def _docs_of_module(name: str) -> dict[str, dict[str, str]]:
    try:
        tree = ast.parse(inspect.getsource(sys.modules[name]))
    except (OSError, TypeError):
        return {}
    return {node.name: _docs_of_class(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _docs_of_class(node: ast.ClassDef) -> dict[str, str]:
    docs = {}
    for field, below in pairwise(node.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = inspect.cleandoc(text)
    return docs
