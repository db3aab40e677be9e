"""Collections of images as Python has them - lists, arrays, data sets of torch and of Hugging Face - as one kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler, Subset
from torch.utils.data import default_collate as usual_collate

from nextpatch.data.encoding import is_one
from nextpatch.data.error import DataError
from nextpatch.data.sources.memory import Parts, digest_of_all, digest_of_some

_KEPT_LABELS = ("targets", "labels", "_labels")  # where torchvision's data sets keep those of all samples
_COLORS = 4  # a last axis of so many, or fewer, is channels
FORMS = (
    "a path or a name as on the command line, a list of paths, of PIL images, of arrays or of tensors, (images, "
    "labels), a list of (image, label), a torch Dataset or DataLoader, or a Hugging Face dataset"
)


def parts_of(data: Any) -> Parts:
    """What a user gives; DataError, which says what to give, for what is no collection of images."""
    if isinstance(data, Parts):
        return data
    data = data.dataset if isinstance(data, DataLoader) and _is_usual(data) else data
    data = data.tolist() if hasattr(data, "iloc") and hasattr(data, "tolist") else data  # a column of pandas
    if type(data).__module__.partition(".")[0] == "datasets":
        from nextpatch.api.hub_dataset import parts_of_hub_dataset

        return parts_of_hub_dataset(data)
    if isinstance(data, tuple) and len(data) == 2 and _are_labels(data[1]):
        return _paired(data[0], data[1])
    if isinstance(data, (np.ndarray, Tensor)):
        return _of_list(_of_array(data), None)
    if isinstance(data, (list, tuple)):
        if data and all(_is_pair(sample) for sample in data):
            return _of_list([sample[0] for sample in data], [sample[1] for sample in data])
        return _of_list(data, None)
    if isinstance(data, dict) or is_one(data):
        raise DataError(f"{_named(data)} is one thing, and no collection of images; give {FORMS}")
    if isinstance(data, IterableDataset) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise DataError(
            f"{_named(data)} gives its images in its own order, once; nextpatch needs them by number, to repeat a run "
            "exactly: give a list (list(images)) or a data set with __len__ and __getitem__"
        )
    return _of_dataset(data)


def is_single(data: Any) -> bool:
    """Whether it is one image, as an object or an array: of two axes, or of three of which one is channels."""
    if isinstance(data, (np.ndarray, Tensor)):
        channels = data.shape[0 if isinstance(data, Tensor) else -1] if data.ndim == 3 else 0
        return data.ndim == 2 or 0 < channels <= _COLORS
    return is_one(data) and not isinstance(data, (str, Path))


def _paired(images: Any, labels: Any) -> Parts:
    """Images with labels beside them."""
    found = parts_of(images)
    given = _plain_labels(labels)
    if len(given) != len(found.items):
        raise DataError(f"{len(found.items):,} images and {len(given):,} labels; give a label for each image")
    return Parts(found.items, lambda: given, found.digest, found.classes, found.keys)


def _of_array(data: Any) -> Sequence[Any]:
    """The images of an array or tensor: of four axes, or of three where none of them is channels."""
    if isinstance(data, np.ndarray) and data.dtype.kind == "O":
        raise DataError("an array of objects is no array of pixels; give a list of the arrays: list(images)")
    if data.ndim == 3 and not is_single(data):
        return list(data)
    if data.ndim != 4:
        layout = "images channels height width" if isinstance(data, Tensor) else "images height width channels"
        raise DataError(
            f"an array of shape {tuple(data.shape)} is no collection of images; give '{layout}' or 'images height "
            "width'" + ("; of a single image make a list: [image]" if data.ndim in (2, 3) else "")
        )
    return list(data)


def _of_list(images: Sequence[Any], labels: Sequence[Any] | None) -> Parts:
    if not len(images):
        raise DataError("the collection is empty: no images given")
    if not is_one(images[0]):
        raise DataError(f"{_named(images[0])}, the first of {len(images):,}, is no image; give {FORMS}")
    given = None if labels is None else _plain_labels(labels)
    paths = all(isinstance(image, (str, Path)) for image in images)
    return Parts(
        images, lambda: given, lambda: digest_of_all(images), keys=tuple(map(str, images)) if paths else None
    )  # fmt: skip


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


def _of_dataset(dataset: Any) -> Parts:
    """A data set of torch, or anything else with __len__ and __getitem__."""
    what = f"{type(dataset).__module__}.{type(dataset).__qualname__}"
    images, labels = Column(dataset, 0), Column(dataset, 1)
    if not len(images):
        raise DataError(f"{_named(dataset)} is empty: no images given")
    if not is_one(images[0]):
        kinds = f"its samples are {_named(dataset[0])}"
        raise DataError(
            f"{_named(dataset)}: {kinds}, and not an image or (image, label); put another data set around it that "
            "gives these"
        )
    digest = digest_of_some(images, what)
    if digest_of_some(images, what) != digest:
        raise DataError(
            f"{_named(dataset)} gives another image each time it is asked for the same one; take its random transforms "
            "away: nextpatch crops and flips by itself, so that a run can be repeated exactly"
        )

    def all_labels() -> list[Any] | None:
        if labels[0] is None:
            return None
        kept = _kept_labels(dataset)
        few = {0, len(labels) // 2, len(labels) - 1}
        if kept is not None and all(kept[i] == _plain_label(labels[i]) for i in few):
            return kept
        return [_plain_label(labels[i]) for i in range(len(labels))]

    names = getattr(dataset, "classes", ()) or getattr(getattr(dataset, "dataset", None), "classes", ())
    named = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    return Parts(images, all_labels, lambda: digest, tuple(names) if named else ())


def _kept_labels(dataset: Any) -> list[Any] | None:
    """The labels of all samples where a data set keeps them, so that no image must be decoded for its label."""
    if isinstance(dataset, Subset):
        whole = _kept_labels(dataset.dataset)
        return None if whole is None else [whole[i] for i in dataset.indices]
    for name in _KEPT_LABELS:
        kept = getattr(dataset, name, None)
        if kept is not None and _are_labels(kept) and len(kept) == len(dataset):
            return _plain_labels(kept)
    return None


def _is_usual(loader: DataLoader[Any]) -> bool:
    """True; DataError where a loader does more than its data set, which would be lost."""
    own = {
        "collate_fn": loader.collate_fn is not usual_collate and loader.batch_size is not None,
        "sampler": not isinstance(loader.sampler, (SequentialSampler, RandomSampler)),
        "batch_sampler": loader.batch_sampler is not None and type(loader.batch_sampler) is not BatchSampler,
    }
    if isinstance(loader.dataset, IterableDataset):
        return True  # which is refused by itself
    if changed := [name for name, is_own in own.items() if is_own]:
        raise DataError(
            f"the DataLoader has its own {' and '.join(changed)}, which nextpatch would pass over: it takes the data "
            "set alone, and orders and batches images by itself. Give the data set: loader.dataset"
        )
    return True


def _is_pair(sample: Any) -> bool:
    """Whether it is (image, label)."""
    return isinstance(sample, (tuple, list)) and len(sample) == 2 and is_one(sample[0]) and _is_label(sample[1])


def _is_label(value: Any) -> bool:
    return value is None or isinstance(value, (int, str, np.integer, np.bool_)) or getattr(value, "ndim", -1) == 0


def _are_labels(values: Any) -> bool:
    """Whether it is a list, or an array of one axis, of labels."""
    if isinstance(values, (list, tuple)):
        return len(values) > 0 and all(map(_is_label, values[:100]))
    return getattr(values, "ndim", 0) == 1


def _plain_labels(labels: Any) -> list[Any]:
    return [_plain_label(label) for label in (labels.tolist() if hasattr(labels, "tolist") else labels)]


def _plain_label(label: Any) -> Any:
    """A number, a text or None, without numpy or torch."""
    return label.item() if hasattr(label, "item") else label


def _named(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
