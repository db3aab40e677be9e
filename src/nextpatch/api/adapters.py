"""Collections of images as Python has them - lists, arrays, data sets of torch and of Hugging Face - as one kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from nextpatch.api.given_labels import are_labels, described, is_label, kind_name, plain_labels
from nextpatch.api.torch_dataset import dataset_of, parts_of_dataset
from nextpatch.data.encoding import is_one
from nextpatch.data.error import DataError
from nextpatch.data.sources.memory import Parts, digest_of_all

_COLORS = 4  # a last axis of so many, or fewer, is channels
FORMS = (
    "a path or a name as on the command line, a list of paths, of PIL images, of arrays or of tensors, (images, "
    "labels), a list of (image, label), a torch Dataset or DataLoader, or a Hugging Face dataset"
)


def parts_of(data: Any) -> Parts:
    """What a user gives; DataError, which says what to give, for what is no collection of images."""
    if isinstance(data, Parts):
        return data
    data = dataset_of(data) if isinstance(data, DataLoader) else data
    data = data.tolist() if hasattr(data, "iloc") and hasattr(data, "tolist") else data  # a column of pandas
    if type(data).__module__.partition(".")[0] == "datasets" and type(data).__name__ != "Column":
        from nextpatch.api.hub_dataset import parts_of_hub_dataset

        return parts_of_hub_dataset(data)
    if isinstance(data, tuple) and len(data) == 2 and _is_labeled(*data):
        return paired(data[0], data[1])
    if isinstance(data, (np.ndarray, Tensor)):
        return _of_list(_of_array(data), None)
    if isinstance(data, (list, tuple)):
        if data and all(_is_pair(sample) for sample in data):
            return _of_list([sample[0] for sample in data], [sample[1] for sample in data])
        return _of_list(data, None)
    if isinstance(data, dict) or is_one(data):
        raise DataError(f"{kind_name(data)} is a single object, not a collection of images; give {FORMS}")
    if not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise DataError(f"{kind_name(data)} is not a collection of images; give {FORMS}")
    if isinstance(data, IterableDataset) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise DataError(
            f"{kind_name(data)} gives its images in its own order, once; nextpatch needs them by number, to repeat a "
            "run exactly: give a list (list(images)) or a data set with __len__ and __getitem__"
        )
    return parts_of_dataset(data)


def is_single(data: Any) -> bool:
    """Whether it is one image, as an object or an array: of two axes, or of three of which one is channels."""
    if isinstance(data, (np.ndarray, Tensor)):
        channels = data.shape[0 if isinstance(data, Tensor) else -1] if data.ndim == 3 else 0
        return data.ndim == 2 or 0 < channels <= _COLORS
    return is_one(data) and not isinstance(data, (str, Path))


def paired(images: Any, labels: Any) -> Parts:
    """Images with labels beside them; DataError where these are no labels, or are not as many."""
    found = parts_of(images)
    if not are_labels(labels):
        raise DataError(f"the labels are {described(labels)}; give a class number or a class name for each image")
    given = plain_labels(labels)
    if len(given) != len(found.items):
        raise DataError(f"{len(found.items):,} images and {len(given):,} labels; give a label for each image")
    return Parts(found.items, lambda: given, found.digest, found.classes, found.keys)


def _of_array(data: Any) -> Sequence[Any]:
    """The images of an array or tensor: of four axes, or of three where none of them is channels."""
    if isinstance(data, np.ndarray) and data.dtype.kind == "O":
        raise DataError("an array of dtype object holds no pixels; give a list of the arrays: list(images)")
    if data.ndim == 3 and not is_single(data):
        return list(data)
    if data.ndim != 4:
        layout = "images channels height width" if isinstance(data, Tensor) else "images height width channels"
        raise DataError(
            f"an array of shape {tuple(data.shape)} is not a collection of images; give '{layout}' or 'images height "
            "width'" + ("; of a single image make a list: [image]" if data.ndim in (2, 3) else "")
        )
    return list(data)


def _of_list(images: Sequence[Any], labels: Sequence[Any] | None) -> Parts:
    if not len(images):
        raise DataError("the collection is empty: no images given")
    if not is_one(images[0]):
        number = next((i for i, one in enumerate(images) if not _is_pair(one)), 0)
        which = "the first" if not number else f"number {number}"
        raise DataError(f"{kind_name(images[number])}, {which} of {len(images):,}, is not an image; give {FORMS}")
    given = None if labels is None else plain_labels(labels)
    paths = all(isinstance(image, (str, Path)) for image in images)
    return Parts(
        images, lambda: given, lambda: digest_of_all(images), keys=tuple(map(str, images)) if paths else None
    )  # fmt: skip


def _is_labeled(images: Any, labels: Any) -> bool:
    """Whether a tuple of two is (images, labels), be they right or not, and not two images."""
    many = isinstance(images, (list, tuple, np.ndarray, Tensor)) and not is_one(images)
    return are_labels(labels) or many or (getattr(images, "ndim", 0) == 3 and not is_single(images))


def _is_pair(sample: Any) -> bool:
    """Whether it is (image, label)."""
    return isinstance(sample, (tuple, list)) and len(sample) == 2 and is_one(sample[0]) and is_label(sample[1])
