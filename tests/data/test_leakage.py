"""What is tested must not be learned: copies are found however they are called and kept."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labeled import CLASSES, write_labeled
from nextpatch.data.error import DataError
from nextpatch.data.leakage import find_shared
from nextpatch.data.sources.open import open_source
from nextpatch.data.splits import open_splits


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write_labeled(tmp_path / "train", 6, 0)


def copied(train: Path, out: Path, count: int) -> Path:
    """Other images, and `count` of the training images under other names in each class."""
    write_labeled(out, 3, 9)
    for name in CLASSES:
        for i in range(count):
            (out / name / f"another_{i}.png").write_bytes((train / name / f"{i:03d}.png").read_bytes())
    return out


@pytest.mark.parametrize("count", [1, 4])
def test_copies_under_other_names_are_refused_and_counted(train: Path, tmp_path: Path, count: int) -> None:
    test = copied(train, tmp_path / "test", count)
    with pytest.raises(DataError, match=rf"{3 * count} of {9 + 3 * count} .*another_0\.png.*000\.png.*--overlap"):
        open_splits(str(train), str(test), 0, held_out=False)
    kept = open_splits(str(train), str(test), 0, held_out=False, overlap="keep")
    assert (kept.shared, len(kept.test)) == (3 * count, 9 + 3 * count)
    left = open_splits(str(train), str(test), 0, held_out=False, overlap="leave-out")
    assert (left.shared, len(left.test)) == (3 * count, 9)
    assert not any("another" in left.test_source.key(i) for i in left.test.tolist())


def test_nothing_left_to_test_on_is_said(train: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="None is left to test on"):
        open_splits(str(train), str(write_labeled(tmp_path / "same", 6, 0)), 0, overlap="leave-out")


def test_other_images_are_no_overlap(train: Path, tmp_path: Path) -> None:
    assert open_splits(str(train), str(write_labeled(tmp_path / "test", 3, 9)), 0).shared == 0


def test_an_image_that_lies_twice_in_one_collection_is_not_tested(train: Path) -> None:
    for name in CLASSES:
        for file in list((train / name).glob("*.png")):
            (train / name / f"again_{file.name}").write_bytes(file.read_bytes())
    splits = open_splits(str(train), "", 0)
    source, learned = splits.source, [*splits.pool.tolist(), *splits.select.tolist()]
    assert splits.shared > 0
    assert not {source.read(i) for i in splits.test.tolist()} & {source.read(i) for i in learned}
    assert open_splits(str(train), "", 0, overlap="keep").shared == splits.shared


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_copies_are_found_in_any_container(train: Path, tmp_path: Path, kind: str) -> None:
    files = sorted(train.rglob("*.png"))
    if kind == "tar":
        place = tmp_path / "set.tar"
        with tarfile.open(place, "w") as archive:
            for number, file in enumerate(files):
                member = tarfile.TarInfo(f"{number:04d}.png")
                member.size = file.stat().st_size
                archive.addfile(member, io.BytesIO(file.read_bytes()))
    else:
        place = tmp_path / "set.parquet"
        pq.write_table(pa.table({"image": [{"bytes": f.read_bytes(), "path": None} for f in files]}), place)
    one, other = open_source(str(train)), open_source(str(place))
    for first, second in ((one, other), (other, one)):
        found = find_shared(first, np.arange(len(first)), second, np.arange(len(second)))
        assert found.indices.tolist() == list(range(18))


def test_a_part_of_a_large_collection_is_enough_to_find_a_copy(train: Path) -> None:
    source = open_source(str(train))
    found = find_shared(source, np.arange(18), source, np.arange(18), most=5)
    assert len(found.indices) == 5


def test_what_cannot_be_read_is_in_no_collection(train: Path, tmp_path: Path) -> None:
    source = open_source(str(train))
    (train / "cat" / "000.png").unlink()
    assert 0 not in find_shared(source, np.arange(18), source, np.arange(18)).indices
