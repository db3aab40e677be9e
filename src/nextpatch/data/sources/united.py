"""The labels of one or several sources under the same names, whichever numbers each gives its classes."""

from __future__ import annotations

from collections.abc import Sequence

from nextpatch.data.error import DataError
from nextpatch.data.sources.joined import JoinedSource
from nextpatch.data.sources.source import Source


class UnitedLabels(JoinedSource):
    """The samples of the sources, end to end, whose label is the number of their class among `classes`.

    A class of the same name is the same in every source. None for images without a class, and for other classes.
    """

    def __init__(self, sources: Sequence[Source], classes: tuple[str, ...]) -> None:
        super().__init__(sources)
        numbers = {name: number for number, name in enumerate(classes)}
        self._numbers = [[numbers.get(name) for name in source.classes] for source in sources]
        self.classes = classes

    def label(self, index: int) -> int | None:
        """The number of its class, by name."""
        number, within = self.within(index)
        label = self.sources[number].label(within)
        return None if label is None else self._numbers[number][label]


def names_of(sources: Sequence[Source]) -> tuple[str, ...]:
    """The classes of all sources, each once, in the order of the first source and then of those after it.

    DataError where no source has any, with the reason.
    """
    found = tuple(dict.fromkeys(name for source in sources for name in source.classes))
    if not found:
        why = "; ".join(f"{source.name}: {getattr(source, 'why_unlabeled', '') or 'no labels'}" for source in sources)
        raise DataError(f"the images have no labels ({why}); leave out --labels, or give images in a folder per class")
    return found
