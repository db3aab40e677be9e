"""What a configuration says of its fields: the docstring under each, which is also the help of its flag."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise


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
