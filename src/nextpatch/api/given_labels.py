"""Labels as Python has them - lists, arrays, tensors, columns - as plain numbers and texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def is_label(value: Any) -> bool:
    """Whether it is a number, a text, or None, also as an array or tensor without axes."""
    return value is None or isinstance(value, (int, float, str, np.generic)) or getattr(value, "ndim", -1) == 0


def are_labels(values: Any) -> bool:
    """Whether it is a list, or an array of one axis, of labels."""
    if isinstance(values, Sequence) and not isinstance(values, (str, bytes)):
        return len(values) > 0 and all(is_label(values[i]) for i in range(min(len(values), 100)))
    return getattr(values, "ndim", 0) == 1


def plain_labels(labels: Any) -> list[Any]:
    """All of them as `plain_label` gives them."""
    return [plain_label(label) for label in (labels.tolist() if hasattr(labels, "tolist") else labels)]


def plain_label(label: Any) -> Any:
    """A number, a text or None, without numpy or torch."""
    return label.item() if hasattr(label, "item") else label


def described(value: Any) -> str:
    """What a value is that should be a label, or labels."""
    shape = getattr(value, "shape", None)
    if isinstance(value, Sequence) and not len(value):
        return "empty"
    return f"{kind_name(value)}{f' of shape {tuple(shape)}' if shape is not None else ''}"


def kind_name(value: Any) -> str:
    """Its type, with the module that it comes from."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
