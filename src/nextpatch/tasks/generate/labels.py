"""The classes that images are asked for: by name or number, one for each image."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from nextpatch.core.text import shown, whole_number
from nextpatch.sampling.error import SamplingError
from nextpatch.tasks.generate.config import EACH


def class_numbers(
    labels: Sequence[str], numbers: Sequence[int], classes: int, names: Sequence[str]
) -> list[int] | None:
    """The class of each image by its number: labels take turns. None without labels.

    SamplingError for a class that the weights do not know, with the nearest that they do.
    """
    if not labels:
        return None
    if not classes:
        raise SamplingError(
            "these weights know no classes; leave --label out, or train with the labels of the images: nextpatch "
            "pretrain ... --labels"
        )
    every = [one for label in labels for one in (range(classes) if label == EACH else [_number(label, classes, names)])]
    return [every[number % len(every)] for number in numbers]


def _number(label: str, classes: int, names: Sequence[str]) -> int:
    """A name before a number: classes may be called 0, 1, 2 in another order."""
    if label in names:
        return list(names).index(label)
    number = whole_number(label)
    if number is not None and 0 <= number < classes:
        return number
    if number is not None or not names:
        known = f"there are {classes:,}, counted from 0" + ("" if names else "; their names are not known")
        raise SamplingError(f"no class '{shown(label)}': {known}")
    near = difflib.get_close_matches(label, names, n=1)
    advice = f"did you mean '{shown(near[0])}'?" if near else f"there are {shown(', '.join(names[:20]))}"
    raise SamplingError(f"no class '{shown(label)}': {advice}")
