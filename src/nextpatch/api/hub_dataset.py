"""A data set of Hugging Face's `datasets`: its column of images as stored, its column of labels with their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nextpatch.data.error import DataError
from nextpatch.data.sources.memory import Parts, digest_of_some

_LABELS = ("label", "labels")


class StoredImages:
    """The encoded bytes of an image column, decoded by nextpatch alone; those of a path are read when needed."""

    def __init__(self, dataset: Any, column: str) -> None:
        import datasets

        self._rows = dataset.with_format(None).select_columns([column])
        self._rows = self._rows.cast_column(column, datasets.Image(decode=False))
        self._column = column

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Any:
        stored = self._rows[int(index)][self._column]
        if stored is None:
            raise DataError("the row holds no image")
        return stored["path"] if stored["bytes"] is None else stored["bytes"]


def parts_of_hub_dataset(dataset: Any) -> Parts:
    """Its images and labels; DataError where it streams, holds several splits, or has no column of images."""
    if isinstance(dataset, Mapping):
        raise DataError(f"the data set holds the splits {', '.join(dataset)}; give one of them: dataset['train']")
    if not hasattr(dataset, "select_columns") or not hasattr(dataset, "__len__"):
        raise DataError("a streamed data set has no images by number; load it without streaming=True")
    features: dict[str, Any] = dict(dataset.features)
    pictures = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
    if len(pictures) != 1:
        raise DataError(
            f"the data set has {len(pictures)} columns of images among {', '.join(features)}; leave one with "
            "dataset.select_columns, or make one with dataset.cast_column(NAME, datasets.Image())"
        )
    if not len(dataset):
        raise DataError("the data set is empty: no images given")
    images = StoredImages(dataset, pictures[0])
    label = _label_column(features)

    def labels() -> list[Any] | None:
        return None if label is None else list(dataset.with_format(None)[label])

    names = tuple(getattr(features[label], "names", ())) if label else ()
    return Parts(images, labels, lambda: digest_of_some(images, "datasets.Dataset"), names)


def _label_column(features: Mapping[str, Any]) -> str | None:
    """The column of labels: by its name, or the only one of class labels."""
    named = [name for name in _LABELS if name in features]
    classes = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    found = named or (classes if len(classes) == 1 else [])
    return found[0] if found else None
