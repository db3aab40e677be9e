"""Packing: the same bytes for the same images, whatever the workers and the kills; nothing lost, nothing changed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nextpatch.data.error import DataError
from nextpatch.data.order import Order
from nextpatch.data.sources.folder import FolderSource
from nextpatch.data.sources.tar import TarSource
from nextpatch.data.storage.location import expand
from nextpatch.tasks.curate.config import Packing
from nextpatch.tasks.curate.pack import BAD, Packed, pack
from nextpatch.tasks.curate.shard import ShardWriter

SMALL = Packing(samples_per_shard=7)
BROKEN = {"empty.jpg", "cut.jpg", "page.jpg"}


def packed(root: Path, out: Path, cfg: Packing = SMALL, workers: int = 0) -> Packed:
    return pack(FolderSource(root), out, cfg, workers, Console(file=io.StringIO()))


def opened(out: Path) -> TarSource:
    return TarSource(expand(f"{out}/*.tar"))


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a packed set, by name."""
    files = [path for path in out.rglob("*") if path.is_file() and path.name not in ("lock", "manifest.lock")]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def samples(source: FolderSource | TarSource, left_out: set[str] = BROKEN) -> Counter[tuple[bytes, int | None]]:
    """The bytes and labels of all samples, without order."""
    kept = [i for i in range(len(source)) if Path(source.key(i)).name not in left_out]
    return Counter((source.read(i), source.label(i)) for i in kept)


def test_a_full_disk_names_the_shard(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(ShardWriter, "add", full)
    with pytest.raises(OSError, match=r"00000\.tar"):
        packed(photos, tmp_path / "out")


def test_exactly_the_images_that_decode_come_out_as_they_were(photos: Path, tmp_path: Path) -> None:
    made = packed(photos, tmp_path / "out")
    shards = opened(tmp_path / "out")
    assert samples(shards) == samples(FolderSource(photos))
    assert (made.shards, made.samples) == (6, 40)
    assert shards.classes == ("cat", "dog")
    assert shards.shard_sizes.tolist() == [7, 7, 7, 7, 7, 5]


def test_what_is_left_out_is_named_with_its_reason(photos: Path, tmp_path: Path) -> None:
    made = packed(photos, tmp_path / "out")
    listed = [json.loads(line) for line in (tmp_path / "out" / BAD).read_text().splitlines()]
    assert {entry["key"] for entry in listed} == {"cat/empty.jpg", "cat/cut.jpg", "dog/page.jpg"} == made.bad.keys()
    assert all(entry["reason"] and entry["kind"] and entry["source"] == str(photos) for entry in listed)


def test_workers_and_place_change_no_byte(photos: Path, tmp_path: Path) -> None:
    moved = photos.rename(tmp_path / "moved")
    for number, workers in enumerate((0, 1, 3)):
        packed(moved, tmp_path / f"out{number}", workers=workers)
    assert contents(tmp_path / "out0") == contents(tmp_path / "out1") == contents(tmp_path / "out2")
    moved.rename(photos)
    packed(photos, tmp_path / "elsewhere")
    there, here = contents(tmp_path / "elsewhere"), contents(tmp_path / "out0")
    assert {name: there[name] for name in there if name.endswith(".tar")} == {
        name: here[name] for name in here if name.endswith(".tar")
    }


def test_samples_stand_in_the_order_that_the_seed_gives(photos: Path, tmp_path: Path) -> None:
    source = FolderSource(photos)
    packed(photos, tmp_path / "plain", Packing(seed=-1))
    packed(photos, tmp_path / "mixed", Packing(seed=5))
    orders = {"plain": range(len(source)), "mixed": Order(source.shard_sizes, 5).at(np.arange(len(source))).tolist()}
    for name, order in orders.items():
        wanted = [source.read(i) for i in order if Path(source.key(i)).name not in BROKEN]
        shards = opened(tmp_path / name)
        assert [shards.read(i) for i in range(len(shards))] == wanted


def test_a_shard_ends_before_it_grows_too_large(tmp_path: Path, image) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.bmp").write_bytes(image(number, 300, 400, kind="BMP"))
    made = packed(folder, tmp_path / "out", Packing(shard_mib=1))
    sizes = [path.stat().st_size for path in sorted((tmp_path / "out").glob("*.tar"))]
    assert made.shards == len(sizes) == 6
    assert max(sizes) <= 2**20
    assert len(opened(tmp_path / "out")) == 12


def test_an_image_larger_than_a_shard_has_one_of_its_own(tmp_path: Path, image) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.bmp").write_bytes(image(number, 700, 700, kind="BMP"))
    assert packed(folder, tmp_path / "out", Packing(shard_mib=1)).shards == 3


def test_keys_are_kept_beside_the_images(photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path / "out")
    kept = set()
    for path in (tmp_path / "out").glob("*.tar"):
        with tarfile.open(path) as archive:
            names = [name for name in archive.getnames() if name.endswith(".json")]
            kept |= {json.loads(archive.extractfile(name).read())["key"] for name in names}
    assert kept == {f"{path.parent.name}/{path.name}" for path in photos.rglob("*.*") if path.name not in BROKEN}


def test_without_the_check_only_the_nameless_are_left_out(photos: Path, tmp_path: Path) -> None:
    made = packed(photos, tmp_path / "out", Packing(keep_bad=True))
    assert made.bad.keys() == {"cat/empty.jpg", "dog/page.jpg"}
    assert len(opened(tmp_path / "out")) == 41


def test_called_again_it_changes_nothing(photos: Path, tmp_path: Path) -> None:
    first = packed(photos, tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tar")}
    assert packed(photos, tmp_path / "out") == first
    assert times == {path: path.stat().st_mtime_ns for path in times}


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_finished_shard_that_was_harmed_is_made_again(harm: str, photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path / "whole")
    packed(photos, tmp_path / "out")
    shard = tmp_path / "out" / "00002.tar"
    shard.write_bytes(shard.read_bytes()[:2000]) if harm == "cut" else shard.unlink()
    packed(photos, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("other", [Packing(samples_per_shard=8), Packing(samples_per_shard=7, seed=1)])
def test_other_settings_are_refused(other: Packing, photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path / "out")
    with pytest.raises(DataError, match="began with"):
        packed(photos, tmp_path / "out", other)


def test_other_images_are_refused(photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path / "out")
    (photos / "cat" / "empty.jpg").unlink()
    with pytest.raises(DataError, match="source"):
        packed(photos, tmp_path / "out")


def test_other_images_under_the_same_names_are_refused(photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path / "out")
    files = sorted(file for file in photos.rglob("*") if file.is_file())
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, reversed(contents), strict=True):
        file.write_bytes(content)
    with pytest.raises(DataError, match="began with contents"):
        packed(photos, tmp_path / "out")


def test_a_folder_in_use_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "theirs.tar").touch()
    with pytest.raises(DataError, match="not empty"):
        packed(photos, tmp_path / "out")


def test_a_source_without_one_good_image_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no image of"):
        packed(folder, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.tar*"))


def _slowly(root: Path, out: Path) -> None:
    os.setpgrp()  # so that its worker can be killed with it, as when the machine stops
    packed(root, out, workers=1)


@pytest.mark.parametrize("seed", range(2))
def test_kills_change_nothing(seed: int, photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path / "whole")
    rng, context, out = random.Random(seed), multiprocessing.get_context("fork"), tmp_path / "out"
    kills = 0
    for number in range(5):
        process = context.Process(target=_slowly, args=(photos, out))
        process.start()
        _wait_for(out, number + 1, process)
        time.sleep(rng.uniform(0, 0.01))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills >= 3
    packed(photos, out)
    assert contents(out) == contents(tmp_path / "whole")


def _wait_for(out: Path, shards: int, process) -> None:
    while process.is_alive() and len(list(out.glob("*.tar"))) < shards:
        time.sleep(0.001)


WEBDATASET = """
import hashlib, json, sys, webdataset
read = webdataset.WebDataset(sys.argv[1:], shardshuffle=False, empty_check=False)
images = [(next(sample[e] for e in ("jpg", "png", "webp") if e in sample), int(sample["cls"])) for sample in read]
print(json.dumps([(hashlib.sha256(data).hexdigest(), label) for data, label in images]))
"""


def test_webdataset_reads_the_shards(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    packed(photos, tmp_path / "out")
    shards = sorted(map(str, (tmp_path / "out").glob("*.tar")))
    said = subprocess.run([sys.executable, "-c", WEBDATASET, *shards], capture_output=True, check=True).stdout
    wanted = samples(FolderSource(photos)).elements()
    assert Counter(map(tuple, json.loads(said))) == Counter(
        (hashlib.sha256(data).hexdigest(), label) for data, label in wanted
    )
