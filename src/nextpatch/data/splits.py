"""Which labeled image serves for what: to learn from, to choose by, or to be tested on once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from nextpatch.core.errors import UserError
from nextpatch.core.random import Stream, rng_at
from nextpatch.core.text import shown
from nextpatch.data.error import DataError
from nextpatch.data.leakage import Overlap, find_shared, without_overlap
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Source

log = logging.getLogger(__name__)
BUDGETS = (100, 1_000, 10_000)
_SHARE, _MOST = 0.2, 5_000  # of the labeled images: for choosing, and for testing where no test data is given

Indices = Int64[np.ndarray, " _"]


class Unlabeled:
    """A source without its labels: what features are taken from before every choice is made."""

    def __init__(self, source: Source) -> None:
        self._source, self.name = source, source.name
        self.classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self._source)

    def read(self, index: int) -> bytes:
        """The encoded image."""
        return self._source.read(index)

    def key(self, index: int) -> str:
        """What the image is called."""
        return self._source.key(index)

    def label(self, index: int) -> int | None:
        """None, whatever the index."""
        return None


@dataclass(frozen=True)
class Splits:
    """Disjoint indices. The first n of `pool` are n labels: balanced over the classes, and nested for growing n."""

    classes: tuple[str, ...]
    source: Source
    pool: Indices
    select: Indices
    test_source: Source
    test: Indices
    shared: int = 0  # images that were given to test on and are learned from as well

    def labels(self, indices: Indices) -> Int64[np.ndarray, " samples"]:
        """Classes of images that are learned from or chosen by."""
        return np.array([self.source.label(index) for index in indices.tolist()], dtype=np.int64)

    def open_test_labels(self, indices: Indices) -> Int64[np.ndarray, " samples"]:
        """Classes of test images (-1: none), numbered as in `classes`; called once, after every choice."""
        number = {name: i for i, name in enumerate(self.classes)}
        found = [self.test_source.label(index) for index in indices.tolist()]
        return np.array([-1 if i is None else number[self.test_source.classes[i]] for i in found], dtype=np.int64)

    def budgets(self, wanted: Sequence[int]) -> list[int]:
        """Numbers of labels to learn from; UserError when the pool is smaller than one asked for.

        Unless asked for otherwise they lie at least a factor of two apart: rows of nearly as many labels say the same
        twice, and cost as much again.
        """
        if wanted and max(wanted) > len(self.pool):
            raise UserError(
                f"{max(wanted):,} labels asked for; {self.source.name} leaves {len(self.pool):,} to learn from, "
                f"beside {len(self.select):,} to choose by"
            )
        if wanted:
            return sorted(set(wanted))
        most = min(len(self.pool), BUDGETS[-1])
        return [*(n for n in BUDGETS if len(self.classes) <= n and 2 * n <= most), most]


def open_splits(data: str, test: str, seed: int, held_out: bool = True, overlap: Overlap = "refuse") -> Splits:
    """Open and divide the labeled images; the same for the same seed. Without `test` a fifth of `data` is set aside.

    With `held_out` another slice of `data` is kept to choose by; without it, everything is there to learn from.
    Test images that are learned from as well are treated as `overlap` says; where `data` itself has an image twice, the
    copy that was set aside is left out of the test. Reads no test label, only the names of classes. Raises DataError
    when labels are absent, classes do not match, or images are on both sides.
    """
    return split(open_source(data), open_source(test) if test else None, seed, held_out, overlap)


def split(
    source: Source, test_source: Source | None, seed: int, held_out: bool = True, overlap: Overlap = "refuse"
) -> Splits:
    """The same of sources that are open."""
    _need_classes(source)
    classes = np.array([-1 if (c := source.label(i)) is None else c for i in range(len(source))], dtype=np.int64)
    if unlabeled := int((classes < 0).sum()):
        log.warning("%d of %d images of %s have no label and are left out", unlabeled, len(source), shown(source.name))
    rest = _by_class(np.arange(len(source)), classes, seed)
    if len(rest) < 2:
        raise _one_class(source, f"images of one class alone, '{shown(source.classes[classes.max()])}'")
    if test_source is not None:
        _need_same_classes(source, test_source)
        test_indices = np.arange(len(test_source))
    else:
        test_source = source
        test_indices, rest = _apart(rest)
        test_indices = np.sort(test_indices)
    select = np.empty(0, np.int64)
    if held_out:
        select, rest = _apart(rest)
    pool = _interleaved(rest)
    if not len(pool) or (held_out and not len(select)) or not len(test_indices):
        raise _too_few(source, held_out, test_source is source)
    select, own = np.sort(select), test_source is source
    found = find_shared(source, np.sort(np.concatenate([pool, select])), test_source, test_indices)
    allowed: Overlap = "leave-out" if own and overlap == "refuse" else overlap
    test_indices = without_overlap(test_indices, found, test_source.name, source.name, allowed)
    return Splits(source.classes, source, pool, select, test_source, test_indices, len(found.indices))


def _too_few(source: Source, held_out: bool, tested: bool) -> DataError:
    """Says for what each class needs an image, so that the number given is the one that is enough."""
    uses = ["to learn from", *(["to choose by"] if held_out else []), *(["to test on"] if tested else [])]
    remedy = ", or name test images: --test" if tested else ""
    return DataError(
        f"{source.name} has too few labeled images to divide: a class needs {len(uses)}, one each "
        f"{' and '.join(uses)}; give at least {len(uses)} of each class{remedy}"
    )


def _by_class(indices: Indices, classes: Int64[np.ndarray, " samples"], seed: int) -> list[Indices]:
    """Indices of each class that occurs, shuffled; unlabeled ones belong to none."""
    shuffled = rng_at(seed, Stream.LABEL_SPLIT, 0).permutation(indices)
    return [shuffled[classes[shuffled] == c] for c in np.unique(classes[classes >= 0])]


def _apart(groups: list[Indices]) -> tuple[Indices, list[Indices]]:
    """A fifth of every class, at most 5,000 in all, and what is left of each class. A class of one stays whole."""
    share = min(_SHARE, _MOST / max(1, sum(map(len, groups))))
    counts = [min(max(1, round(share * len(group))), len(group) - 1) for group in groups]
    taken = [group[:count] for group, count in zip(groups, counts, strict=True)]
    return np.concatenate(taken), [group[count:] for group, count in zip(groups, counts, strict=True)]


def _interleaved(groups: list[Indices]) -> Indices:
    """One of each class in turn, as long as it has any."""
    rounds = np.concatenate([np.arange(len(group)) for group in groups])
    return np.concatenate(groups)[np.argsort(rounds, kind="stable")]


def _need_classes(source: Source) -> None:
    if len(source.classes) < 2:
        one = f"only one class, '{shown(source.classes[0])}'" if source.classes else "no labels to learn from"
        why = getattr(source, "why_unlabeled", "")
        raise _one_class(source, f"{one}{f': {why}' if why else ''}")


def _one_class(source: Source, has: str) -> DataError:
    return DataError(
        f"{shown(source.name)} has {has}; put the images of each class into a folder named after it, or give Parquet "
        "with a column 'label', or a CSV list with the columns path,label"
    )


def _need_same_classes(train: Source, test: Source) -> None:
    _need_classes(test)
    if Path(train.name).resolve() == Path(test.name).resolve():
        raise DataError(f"--data and --test are both {test.name}; a test on the training images says nothing")
    unknown = [name for name in test.classes if name not in train.classes]
    if unknown:
        raise DataError(
            f"{test.name} has classes that {train.name} has not: {', '.join(unknown[:5])}; the names must be the same"
        )
