"""A data set of torch, or anything else that gives samples by number, as images with labels."""

from __future__ import annotations

from typing import Any

from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler, Subset
from torch.utils.data import default_collate as usual_collate

from nextpatch.api.given_labels import are_labels, described, is_label, kind_name, plain_label, plain_labels
from nextpatch.data.encoding import is_one
from nextpatch.data.error import DataError
from nextpatch.data.sources.memory import Parts, digest_of_some, some_of

_COMPARISONS = 64  # of an image with itself, to find out whether it is another one each time
_KEPT_LABELS = ("targets", "labels", "_labels")  # where torchvision's data sets keep those of all samples


class Column:
    """The images, or the labels, of a data set whose samples are images or (image, label)."""

    def __init__(self, dataset: Any, number: int) -> None:
        self._dataset, self._number = dataset, number

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        sample = self._dataset[int(index)]
        if isinstance(sample, (tuple, list)):
            return sample[self._number] if self._number < len(sample) else None
        return None if self._number else sample


def parts_of_dataset(dataset: Any) -> Parts:
    """A data set of torch, or anything else with __len__ and __getitem__."""
    what = f"{type(dataset).__module__}.{type(dataset).__qualname__}"
    images, labels = Column(dataset, 0), Column(dataset, 1)
    if not _count(dataset):
        raise DataError(f"{kind_name(dataset)} is empty: no images given")
    first, sample = _first_sample(dataset)
    if not is_one(images[first]):
        raise DataError(
            f"{kind_name(dataset)}: its samples are {kind_name(sample)}, and not an image or (image, label); put "
            "another data set around it that gives these"
        )
    digest = digest_of_some(images, what)
    again = 1 + _COMPARISONS // len(images)  # of few images, chance might change none this once
    if any(digest_of_some(images, what) != digest for _ in range(again)):
        raise DataError(
            f"{kind_name(dataset)} gives another image each time it is asked for the same one; take its random "
            "transforms away: nextpatch crops and flips by itself, so that a run can be repeated exactly"
        )

    def all_labels() -> list[Any] | None:
        if not (isinstance(sample, (tuple, list)) and len(sample) > 1):
            return None
        kept, few = _kept_labels(dataset), some_of(len(labels))
        if kept is not None and [kept[i] for i in few] == [_label_of(labels, i) for i in few]:
            return kept
        return [_label_of(labels, i) for i in range(len(labels))]

    return Parts(images, all_labels, lambda: digest, _class_names(dataset))


def _count(dataset: Any) -> int:
    try:
        return len(dataset)
    except (TypeError, ValueError) as error:
        raise DataError(f"{kind_name(dataset)} does not say how many images it has: {error}") from error


def _first_sample(dataset: Any) -> tuple[int, Any]:
    """(number, sample) of one that can be had; DataError, from what is wrong, where none of a few can."""
    few = some_of(len(dataset))
    for number in few:
        try:
            return number, dataset[number]
        except Exception as error:  # of somebody's own data set: anything; the others may be sound
            if number == few[-1]:
                said = f"{type(error).__name__}: {error}"
                raise DataError(f"{kind_name(dataset)} gives none of its images; of number {number}: {said}") from error
    raise AssertionError("there is one")


def _label_of(labels: Column, number: int) -> Any:
    """The label; None of a sample that cannot be had, whose image is left out. DataError for what is no label."""
    try:
        label = labels[number]
    except Exception:  # as above; reading the image will say why
        return None
    if not is_label(label) and not (hasattr(label, "numel") and label.numel() == 1):
        raise DataError(f"the label of image {number} is {described(label)}; give a class number or a class name")
    return plain_label(label)


def _class_names(dataset: Any) -> tuple[str, ...]:
    """The names of the class numbers, where a data set knows them and does not change the numbers."""
    if isinstance(dataset, Subset):
        return _class_names(dataset.dataset)
    names = getattr(dataset, "classes", ())
    known = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    return tuple(names) if known and getattr(dataset, "target_transform", None) is None else ()


def _kept_labels(dataset: Any) -> list[Any] | None:
    """The labels of all samples where a data set keeps them, so that no image must be decoded for its label."""
    if isinstance(dataset, Subset):
        whole = _kept_labels(dataset.dataset)
        inside = whole is not None and all(-len(whole) <= i < len(whole) for i in dataset.indices)
        return [whole[i] for i in dataset.indices] if whole is not None and inside else None
    if getattr(dataset, "target_transform", None) is not None:
        return None
    for name in _KEPT_LABELS:
        kept = getattr(dataset, name, None)
        if kept is not None and are_labels(kept) and len(kept) == len(dataset):
            return plain_labels(kept)
    return None


def dataset_of(loader: DataLoader[Any]) -> Any:
    """The data set of a loader; DataError where a loader does more than its data set, which would be lost."""
    if isinstance(loader.dataset, IterableDataset):
        return loader.dataset  # which is refused by itself
    batches = loader.batch_sampler
    own = {
        "collate_fn": loader.collate_fn is not usual_collate and loader.batch_size is not None,
        "sampler": not _takes_all(loader.sampler, loader.dataset),
        "batch_sampler": batches is not None
        and not (type(batches) is BatchSampler and _takes_all(batches.sampler, loader.dataset)),
    }
    if changed := [name for name, is_own in own.items() if is_own]:
        raise DataError(
            f"the DataLoader has its own {' and '.join(changed)}, which nextpatch would pass over: it takes the data "
            "set alone, and orders and batches images by itself. Give the data set: loader.dataset"
        )
    return loader.dataset


def _takes_all(sampler: Any, dataset: Any) -> bool:
    """Whether it gives each image of the data set once."""
    usual = isinstance(sampler, SequentialSampler) or (isinstance(sampler, RandomSampler) and not sampler.replacement)
    return usual and len(sampler.data_source) == len(sampler) == len(dataset)
