"""The shipped Parquet files: what they hold, what they are called, and that runs/draw_demo.py draws the same."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from nextpatch.data.decode import decode
from nextpatch.data.error import DataError
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.shipped import FOLDER
from nextpatch.data.survey import survey


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("draw_demo", Path(__file__).parents[2] / "runs" / "draw_demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("split", "each"), [("train", 3000), ("test", 500)])
def test_classes_are_balanced_and_named(build, split, each):
    source = open_source(f"demo:{split}")
    assert source.classes == build.CLASSES
    assert Counter(source.label(i) for i in range(len(source))) == dict.fromkeys(range(10), each)
    seen = survey(source)
    assert (seen.count, seen.channels, seen.median_height, seen.median_width) == (10 * each, 1, 28, 28)
    assert not seen.bad


def test_both_files_take_at_most_20_mb():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.parquet")) <= 20_000_000


@pytest.mark.parametrize("split", ["train", "test"])
def test_row_groups_are_small_and_no_image_is_there_twice(split):
    file = pq.ParquetFile(FOLDER / f"{split}.parquet")
    assert max(file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)) <= 1000
    paths = [row["path"] for row in file.read(columns=["image"])["image"].to_pylist()]
    assert len(set(paths)) == len(paths)
    file.close()


@pytest.mark.parametrize(("split", "stride"), [("train", 10), ("test", 1)])
def test_the_script_draws_the_same_images(build, split, stride):
    if not build.DEBIAN.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    source = open_source(f"demo:{split}")
    numbers, images, labels = build.read_split(split)
    assert len(set(numbers.tolist())) == len(source)
    assert [source.label(i) for i in range(len(source))] == labels.tolist()
    for i in range(0, len(source), stride):
        assert np.array_equal(decode(source.read(i), 1)[0].numpy(), images[i])


def test_names_do_not_tell_where_the_package_is():
    source = open_source("demo:test")
    assert (source.name, source.key(4999)) == ("demo:test", "demo:test#4999")
    with pytest.raises(DataError, match="demo:train, demo:test"):
        open_source("demo:../demo/test")


def test_parts_are_images_of_the_split_under_the_same_names():
    whole, even, odd, few = (open_source(f"demo:train{part}") for part in ("", "/even", "/odd", "/even-few"))
    assert (len(even), len(odd), len(few)) == (15_000, 15_000, 1000)
    assert even.classes == odd.classes == whole.classes
    assert {even.label(i) for i in range(len(even))} == {0, 2, 4, 6, 8}
    assert {few.key(i) for i in range(len(few))} <= {even.key(i) for i in range(len(even))}
    assert not {odd.key(i) for i in range(len(odd))} & {even.key(i) for i in range(len(even))}
    row = int(few.key(7).partition("#")[2])
    assert (few.read(7), few.label(7)) == (whole.read(row), whole.label(row))
    assert len({source.digest for source in (whole, even, odd, few)}) == 4
    some = open_source("demo:train/some")
    assert len(some) == 5000
    assert {some.label(i) for i in range(len(some))} == set(range(10))


def test_an_unknown_part_is_refused_with_the_known_ones():
    with pytest.raises(DataError, match="/even-few"):
        open_source("demo:train/evening")
