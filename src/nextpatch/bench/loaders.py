"""Training and test images of each benchmark, from torchvision, the Hub, or files in their published layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from nextpatch.core.reading import read_json
from nextpatch.data.error import DataError
from nextpatch.data.sources.folder import FolderSource
from nextpatch.data.sources.joined import JoinedSource
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Source
from nextpatch.data.sources.table import TableSource
from nextpatch.data.sources.torchvision import TorchvisionSource

Loader = Callable[[Path | None], tuple[Source, Source]]  # the benchmark's own folder, or None -> training, test images


def by_torchvision(train: Sequence[str], test: str) -> Loader:
    """Splits of torchvision, several of them as one; downloaded where no folder is given."""

    def load(root: Path | None) -> tuple[Source, Source]:
        parts = [TorchvisionSource(f"torchvision:{name}", root) for name in train]
        return parts[0] if len(parts) == 1 else JoinedSource(parts), TorchvisionSource(f"torchvision:{test}", root)

    return load


def by_hub(repository: str, train: str, test: str) -> Loader:
    """Splits of a copy on the Hub; or Parquet files in a folder, named train* and test* as there."""

    def load(root: Path | None) -> tuple[Source, Source]:
        if root is None:
            return open_source(f"hub:{repository}:{train}"), open_source(f"hub:{repository}:{test}")
        return open_source(f"{root}/{train}*.parquet"), open_source(f"{root}/{test}*.parquet")

    return load


def by_folders(train: str, test: str) -> Loader:
    """A folder per split with a folder per class, as ImageNet is unpacked."""

    def load(root: Path | None) -> tuple[Source, Source]:
        place = _there(root, train)
        return FolderSource(place / train), FolderSource(place / test)

    return load


def inaturalist(root: Path | None) -> tuple[Source, Source]:
    """By the official train2018.json and val2018.json: torchvision's loader mixes training and validation images."""
    place = _there(root, "train2018.json", "val2018.json")
    return _coco(place, "train2018.json"), _coco(place, "val2018.json")


def _coco(root: Path, name: str) -> Source:
    found = read_json(root / name, "the benchmark's list of images", "get it again", DataError)
    numbers = sorted({entry["id"] for entry in found["categories"]})
    place = {number: i for i, number in enumerate(numbers)}
    classes = {entry["id"]: str(entry.get("name", entry["id"])) for entry in found["categories"]}
    label = {entry["image_id"]: place[entry["category_id"]] for entry in found["annotations"]}
    images = [entry for entry in found["images"] if entry["id"] in label]
    labels = np.array([label[entry["id"]] for entry in images], np.int64)
    names = [f"{classes[number]} ({number})" for number in numbers]  # names alone are not unique
    return TableSource(f"iNat-18 {name}", root, [entry["file_name"] for entry in images], labels, names)


def infograph(root: Path | None) -> tuple[Source, Source]:
    """By infograph_train.txt and infograph_test.txt of DomainNet: a path and a number a line."""
    lists = ("infograph_train.txt", "infograph_test.txt")
    place = _there(root, *lists)
    rows = [[line.rsplit(" ", 1) for line in (place / name).read_text().splitlines() if line] for name in lists]
    names = {int(number): path.split("/")[1] for part in rows for path, number in part}
    classes = [names.get(i, str(i)) for i in range(max(names) + 1)]
    train, test = (
        TableSource(f"Infograph {name}", place, [path for path, _ in part],
                    np.array([int(number) for _, number in part], np.int64), classes)
        for name, part in zip(lists, rows, strict=True)
    )  # fmt: skip
    return train, test


def iwildcam(root: Path | None) -> tuple[Source, Source]:
    """WILDS: training images, and those of the out-of-distribution validation split."""
    table = _csv(root, "metadata.csv")
    files = pc.binary_join_element_wise("train", table["filename"], "/").to_pylist()
    return _wilds("iWildCam", root, files, table["y"], table["split"].to_pylist())


def camelyon17(root: Path | None) -> tuple[Source, Source]:
    """WILDS: hospital 1 is the out-of-distribution validation, hospital 2 the test; of the others split 0 trains."""
    table = _csv(root, "metadata.csv")
    columns = {name: table[name].to_pylist() for name in ("patient", "node", "x_coord", "y_coord", "center", "split")}
    files, splits = [], []
    for patient, node, x, y, center, split in zip(*columns.values(), strict=True):
        who = f"patient_{int(patient):03d}_node_{int(node)}"
        files.append(f"patches/{who}/patch_{who}_x_{int(x)}_y_{int(y)}.png")
        own = "train" if int(split) == 0 else "id_val"
        splits.append({1: "val", 2: "test"}.get(int(center), own))
    return _wilds("Camelyon17", root, files, table["tumor"], splits)


def rxrx1(root: Path | None) -> tuple[Source, Source]:
    """WILDS: site 1 of the training experiments, and both sites of the validation experiments."""
    table = _csv(root, "metadata.csv")
    columns = [table[name].to_pylist() for name in ("experiment", "plate", "well", "site", "dataset")]
    files, splits = [], []
    for experiment, plate, well, site, split in zip(*columns, strict=True):
        files.append(f"images/{experiment}/Plate{plate}/{well}_s{site}.png")
        splits.append("id_test" if split == "train" and int(site) == 2 else split)
    return _wilds("RxRx1", root, files, table["sirna_id"], splits)


def fmow(root: Path | None) -> tuple[Source, Source]:
    """WILDS: training images from before 2013, and the validation images of 2013 to 2015."""
    table = _csv(root, "rgb_metadata.csv")
    years = [int(str(stamp)[:4]) for stamp in table["timestamp"].to_pylist()]
    splits = []
    for split, year in zip(table["split"].to_pylist(), years, strict=True):
        late = split == "val" and 2013 <= year < 2016
        splits.append("val" if late else "train" if split == "train" and year < 2013 else "other")
    files = [f"images/rgb_img_{i}.png" for i in range(len(splits))]
    return _wilds("fMoW", root, files, table["category"], splits)


def _wilds(
    name: str, root: Path | None, files: Sequence[str], labels: pa.ChunkedArray, splits: Sequence[str]
) -> tuple[Source, Source]:
    """(training, out-of-distribution validation) of a list; classes are the labels that occur, in their order."""
    values = labels.to_pylist()
    classes = sorted(set(values))
    number = {value: i for i, value in enumerate(classes)}
    where = np.array(splits)
    parts = []
    for split in ("train", "val"):
        rows = np.flatnonzero(where == split)
        own = np.array([number[values[i]] for i in rows.tolist()], np.int64)
        names = [str(value) for value in classes]
        parts.append(TableSource(f"{name} {split}", Path(root or "."), [files[i] for i in rows.tolist()], own, names))
    return parts[0], parts[1]


def _csv(root: Path | None, name: str) -> pa.Table:
    place = _there(root, name)
    options: dict[str, Any] = {"convert_options": pacsv.ConvertOptions(column_types={"timestamp": pa.string()})}
    try:
        return pacsv.read_csv(place / name, **options)
    except pa.ArrowInvalid as error:
        raise DataError(f"{place / name} is not a table ({error}); download it again") from None


def _there(root: Path | None, *needed: str) -> Path:
    """The folder, when it is given and holds what is needed."""
    if root is None:
        raise DataError(
            f"this benchmark cannot be downloaded here; get it, and name the folder above it: --root ({needed[0]})"
        )
    if absent := [name for name in needed if not (root / name).exists()]:
        raise DataError(f"{root} has no {', '.join(absent)}; put the benchmark's own files there")
    return root
