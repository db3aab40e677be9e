"""Images for every function: names as on the command line, or images in memory behind a name of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from nextpatch.api.adapters import is_single, paired, parts_of
from nextpatch.api.dataset import Dataset, parts_of_source
from nextpatch.data.collection import open_collection
from nextpatch.data.error import DataError
from nextpatch.data.formats import image_endings
from nextpatch.data.sources.held import hold
from nextpatch.data.sources.source import Source

Images: TypeAlias = Any  # what `adapters.FORMS` says
Labels: TypeAlias = Any  # class numbers or class names: a list, an array, a tensor, a column of pandas
_COLLECTIONS = (".tar", ".parquet", ".zip", ".csv", ".tsv")


def dataset(images: Images, labels: Labels | None = None, *, classes: Sequence[str] = (), name: str = "") -> Dataset:
    """Images as every function of the package takes them, with labels, names of classes, or a name; to look at, too.

    Its length is their number, and `[i]` gives (image, class number or None), the image of Pillow where it has 1, 3 or
    4 channels, so that it is a data set of torch as well. `images` may be a name as on the command line ("demo:train",
    a folder), or what a program holds:

    A list of paths, PIL images, uint8 arrays "height width [channels]" or tensors "channels height width"
    (floats in [0, 1] too); an array "images height width [channels]" or a tensor "images channels height width"; a
    torch Dataset whose samples are an image or (image, label); a DataLoader, of which the data set is taken; a Hugging
    Face dataset. `labels`: class numbers or names, one for each image (-1 or None: no label). `classes`: names of the
    class numbers, in their order. Functions take the images as they are, too: this is for what they cannot say by
    themselves.

    A run can only be resumed with the images that it started with; if they have changed, an error says so. They are
    recognized by the digest of every pixel of a list or an array; of a data set by its type, its length and 64 of its
    images, evenly spread; or by `name` and their number, if you give a name. Raises DataError for what is not a
    collection of images.

    >>> import numpy as np, nextpatch
    >>> pixels = np.zeros((12, 28, 28), np.uint8)  # twelve gray images of 28 x 28 pixels
    >>> nextpatch.dataset(pixels, labels=[0, 1] * 6, classes=["shirt", "shoe"], name="clothes")
    <nextpatch dataset 'clothes' of 12 images>
    >>> image, label = nextpatch.dataset("demo:test")[0]
    >>> image.size, label
    ((28, 28), 9)
    """
    if isinstance(images, (str, Path)) or _are_names(images):
        named_so = tuple(map(str, [images] if isinstance(images, (str, Path)) else images))
        source = open_collection(named_so).source
        if labels is None and not classes and not name:
            return Dataset(parts_of_source(source), names=named_so)
        images = parts_of_source(source)
    parts = parts_of(images) if labels is None else paired(images, labels)
    return Dataset(parts, name, classes=_class_names(classes))


def _class_names(classes: Sequence[str]) -> tuple[str, ...]:
    """The names as given; DataError where they are none, or not each of its own."""
    names = tuple(() if classes is None else classes)
    if isinstance(classes, (str, Mapping)) or not all(isinstance(name, str) for name in names):
        raise DataError("classes must be a list of names, that of class number 0 first")
    if len(set(names)) < len(names):
        raise DataError(f"classes names {max(names, key=names.count)!r} twice; each class needs a name of its own")
    return names


class Named(NamedTuple):
    """Names by which the tasks open images, and what must be held for as long as they do."""

    names: tuple[str, ...]
    held: tuple[Source, ...] = ()

    @property
    def in_memory(self) -> bool:
        """Whether they are in this program's memory, and not in files."""
        return bool(self.held)

    def one(self, what: str) -> str:
        """The only name; DataError where there are several."""
        if len(self.names) != 1:
            raise DataError(f"{what} names {len(self.names)} collections; give one")
        return self.names[0]


def named(data: Images, labels: bool = False, one: bool = False) -> Named:
    """Names for what a user gives; with `labels` their classes matter, and with `one` a single image will do.

    DataError for what is no collection.
    """
    data = [data] if one and is_single(data) else data
    if isinstance(data, (str, Path)):
        return Named((str(data),))
    if isinstance(data, Source):
        return Named((data.name,), (hold(data),))
    if _are_names(data):
        return Named(tuple(map(str, data)))
    if isinstance(data, Dataset) and data.names:
        return Named(data.names)
    found = data if isinstance(data, Dataset) else Dataset(parts_of(data))
    source = hold(found.labeled if labels else found.unlabeled)
    return Named((source.name,), (source,))


def _are_names(data: Any) -> bool:
    """Whether it is a list of names as on the command line, and not of image files."""
    if not isinstance(data, (list, tuple)) or not data or not all(isinstance(one, (str, Path)) for one in data):
        return False
    return not all(_is_image_file(Path(one)) for one in data)


def _is_image_file(path: Path) -> bool:
    """Whether it is a file, or was one: a missing image is skipped and counted, as everywhere."""
    gone = path.suffix[1:].lower() in image_endings() and not path.exists()
    return not path.name.lower().endswith(_COLLECTIONS) and (gone or path.is_file())
