"""Files of features: digests of what is in them, checked whenever they are read; and work that goes on."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from nextpatch.cli import main
from nextpatch.config import ConfigError
from nextpatch.core.errors import FileError, UserError
from nextpatch.data.sources.open import open_source
from nextpatch.tasks.embed import plan
from nextpatch.tasks.embed.columns import facts_of, is_sound, tables_of
from nextpatch.tasks.embed.config import EmbedConfig
from nextpatch.tasks.embed.embedder import Embedder, part_path
from nextpatch.tasks.embed.moved import rename_samples
from nextpatch.tasks.embed.output import combine
from nextpatch.tasks.embed.plan import PLAN
from nextpatch.tasks.embed.run import embed
from nextpatch.tasks.embed.shard import write_table
from nextpatch.weights.error import WeightsError
from nextpatch.weights.inference import InferenceModel

FACTS = {"kind": "vector", "dim": 4, "pool": "mean"}
FAST: dict[str, Any] = {"device": "cpu", "precision": "fp32", "batch_size": 4, "shard_images": 6}


def part(path: Path, rows: int = 30, seed: int = 0, columns: tuple[str, ...] = ("features",)) -> Path:
    rng = np.random.default_rng(seed)
    names = pa.array([f"{seed}/{i}.png" for i in range(rows)])
    sides = pa.array([8] * rows, pa.int32())
    flat = {name: pa.array(rng.normal(size=rows * 4).astype(np.float16)) for name in columns}
    lists = {name: pa.FixedSizeListArray.from_arrays(values, 4) for name, values in flat.items()}
    write_table(path, [pa.table({"path": names, "height": sides, "width": sides, **lists})], FACTS, {}, {})
    return path


def damage(path: Path) -> None:
    """Some bytes in the middle, where the features lie."""
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 2, len(data) // 2 + 40):
        data[place] ^= 1
    path.write_bytes(data)


def test_no_flip_in_a_part_passes(tmp_path: Path) -> None:
    path = part(tmp_path / "part.parquet")
    data, wanted = path.read_bytes(), pa.concat_tables(tables_of(path))
    rng, passed = np.random.default_rng(1), 0
    for place in rng.integers(0, len(data), 300).tolist():
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << int(rng.integers(8))]) + data[place + 1 :])
        if not is_sound(path):
            with pytest.raises(FileError, match=re.escape(str(path))):
                list(tables_of(path))
            continue
        assert pa.concat_tables(tables_of(path)).equals(
            wanted
        )  # the flip is where nothing is read: padding, statistics, the writer's name
        assert facts_of(path) == FACTS
        passed += 1
    assert passed < 150


@pytest.mark.parametrize("ending", [".parquet", ".npy", ".safetensors"])
def test_all_formats_hold_the_same_rows(ending: str, tmp_path: Path) -> None:
    parts = [part(tmp_path / f"{i}.parquet", rows, i) for i, rows in enumerate((5, 0, 7))]
    out = tmp_path / f"whole{ending}"
    combine(parts, out)
    rows = pa.concat_tables(table for shard in (parts[0], parts[2]) for table in tables_of(shard))
    wanted = np.array(rows["features"].to_pylist(), np.float16)
    if ending == ".parquet":
        assert is_sound(out)
        found = np.array(pa.concat_tables(tables_of(out))["features"].to_pylist(), np.float16)
    else:
        found = np.load(out) if ending == ".npy" else load_file(out)["features"]
        beside = pa.concat_tables(tables_of(out.with_suffix(".rows.parquet")))
        assert beside["path"].equals(rows["path"])
    assert np.array_equal(found, wanted)
    assert found.dtype == np.float16


@pytest.mark.parametrize("ending", [".parquet", ".npy", ".safetensors"])
def test_a_damaged_part_is_never_put_together(ending: str, tmp_path: Path) -> None:
    good, bad = part(tmp_path / "0.parquet"), part(tmp_path / "1.parquet", seed=1)
    damage(bad)
    with pytest.raises(FileError, match=r"1\.parquet"):
        combine([good, bad], tmp_path / f"whole{ending}")
    assert sorted(file.name for file in tmp_path.iterdir() if "whole" in file.name) in (
        [], [f"whole{'.rows.parquet'}"],
    )  # fmt: skip


@pytest.mark.parametrize("ending", [".parquet", ".npy", ".safetensors"])
def test_a_full_disk_is_an_error_and_leaves_nothing_unfinished(ending: str, tmp_path: Path) -> None:
    parts = [part(tmp_path / "0.parquet", 4000)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match=r"(?i)large|space|write") as told:
            combine(parts, tmp_path / f"whole{ending}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert told.value.errno in (errno.EFBIG, errno.ENOSPC, None)
    assert [file.name for file in tmp_path.iterdir()] == ["0.parquet"]


def test_a_damaged_part_is_made_again(
    photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = EmbedConfig(str(photos), str(weights), tmp_path / "features", **FAST)
    embed(given)
    [broken] = (tmp_path / "features").glob("part-*2.parquet")
    wanted = broken.read_bytes()
    damage(broken)
    real, made = Embedder.work, []
    monkeypatch.setattr(Embedder, "work", lambda *args: (made.append(args[2]), real(*args))[1])
    embed(given)
    assert made == [2]
    assert broken.read_bytes() == wanted


def test_a_kill_while_the_parts_are_removed_leaves_a_finished_work(
    photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = EmbedConfig(str(photos), str(weights), out := tmp_path / "features.parquet", **FAST)

    def killed(folder: Path, **_: Any) -> None:
        if folder.exists():
            (folder / PLAN).unlink()
            raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(plan.shutil, "rmtree", killed)
        with pytest.raises(SystemExit):
            embed(given)
    with pytest.raises(ConfigError, match="exists; remove it"):
        embed(given)
    assert out.exists()
    assert not list(tmp_path.glob(".*"))


def test_other_images_under_the_same_names_are_other_work(photos: Path, weights: Path, tmp_path: Path) -> None:
    given = EmbedConfig(str(photos), str(weights), tmp_path / "features", **FAST)
    embed(given)
    for number, file in enumerate(sorted(photos.rglob("*.png"))):
        file.write_bytes(sorted(photos.rglob("*.png"))[-1 - number].read_bytes())
    with pytest.raises(ConfigError, match=r"started with other .*(sizes|contents|times)"):
        embed(given)


def test_touched_images_go_on_but_a_part_of_changed_ones_is_made_again(
    photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, made = EmbedConfig(str(photos), str(weights), tmp_path / "features", **FAST), list[int]()
    embed(given)
    files = [Path(name) for name in pq.read_table(part_path(given.parts, 0)).column("path").to_pylist()]
    real = Embedder.work
    monkeypatch.setattr(Embedder, "work", lambda *args: (made.append(args[2]), real(*args))[1])
    os.utime(files[0], (1, 1))
    embed(given)
    assert made == []
    os.utime(files[0], (2, 2))
    (given.parts / ".part-000000.parquet.sha256").write_text("of other bytes")
    embed(given)
    assert made == [0]


@pytest.mark.parametrize("out", ["features", "f.npy"])
def test_images_that_were_moved_amid_the_work_go_on_under_their_new_names(
    out: str, photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "00.jpg").write_bytes(b"no image, in the first part")
    given, made = EmbedConfig(str(photos), str(weights), tmp_path / out, **FAST), list[int]()
    real, whole = Embedder.work, EmbedConfig(str(tmp_path / "new"), str(weights), tmp_path / f"whole{out}", **FAST)

    def stopping(*args: Any) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(args[2])
        real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(Embedder, "work", stopping)
        with pytest.raises(KeyboardInterrupt):
            embed(given)
    before = [facts_of(part_path(given.parts, number))["data"] for number in (0, 1)]
    assert before == [str(photos)] * 2
    photos.rename(tmp_path / "new")
    changed = part_path(given.parts, 1)
    (changed.parent / f".{changed.name}.sha256").write_text("of other bytes")
    monkeypatch.setattr(Embedder, "work", lambda *args: (made.append(args[2]), real(*args))[1])
    done = embed(replace(given, data=str(tmp_path / "new")))
    assert made == [0, 1, 1, 2, 3, 4]  # of the two that were there the one of the same images stays
    wanted = embed(whole)
    assert (done.images, done.skipped) == (wanted.images, wanted.skipped)
    files = sorted(file for file in tmp_path.rglob("*.parquet") if "whole" in str(file))
    for file in files:
        ours = Path(str(file).replace("whole", ""))
        assert pq.read_table(ours).equals(pq.read_table(file))
        assert facts_of(ours) == facts_of(file)
    assert len(files) == (5 if out == "features" else 1)
    lists = [next(tmp_path.glob(pattern)) for pattern in LISTS[out]]
    assert lists[0].read_text() == lists[1].read_text()
    assert str(photos) not in lists[0].read_text()


LISTS = {
    "features": ("features/skipped.jsonl", "wholefeatures/skipped.jsonl"),
    "f.npy": ("f.skipped.jsonl", "wholef.skipped.jsonl"),
}


def test_a_part_named_anew_before_a_kill_follows_its_images_back(photos: Path, weights: Path, tmp_path: Path) -> None:
    given = EmbedConfig(str(photos), str(weights), tmp_path / "features", **FAST)
    embed(given)
    before = {file.name: pq.read_table(file) for file in given.out.glob("*.parquet")}
    photos.rename(tmp_path / "new")
    moved = replace(given, data=str(tmp_path / "new"))
    source = open_source(moved.data)
    facts = {**json.loads((given.out / PLAN).read_text()), "data": moved.data}
    rename_samples({part_path(given.out, 0): range(FAST["shard_images"])}, source, facts)
    (tmp_path / "new").rename(photos)  # the plan was not written
    embed(given)
    assert all(pq.read_table(given.out / name).equals(table) for name, table in before.items())


def test_rows_are_named_as_the_last_call_sees_them(
    photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    given = EmbedConfig(photos.name, str(weights), tmp_path / "features", **FAST)
    embed(given)
    part_path(given.parts, 2).unlink()
    monkeypatch.chdir(photos)
    embed(replace(given, data="../photos"))
    names = [name for file in given.out.glob("*.parquet") for name in pq.read_table(file)["path"].to_pylist()]
    assert len(names) == 23
    assert all(Path(name).is_file() for name in names)


def test_other_images_in_another_place_are_other_work(photos: Path, weights: Path, tmp_path: Path) -> None:
    given = EmbedConfig(str(photos), str(weights), tmp_path / "features", **FAST)
    embed(given)
    other = photos.rename(tmp_path / "new")
    (other / "extra.png").write_bytes((other / "00.png").read_bytes())
    with pytest.raises(ConfigError, match=r"was started with other .*data"):
        embed(replace(given, data=str(other)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_name_the_layer_and_the_image(
    value: float, photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = InferenceModel.features

    def broken(self: InferenceModel, images: Any, layers: Any) -> Any:
        found = real(self, images, layers)
        found["block_4"][0, 1, 2] = value
        return found

    monkeypatch.setattr(InferenceModel, "features", broken)
    with pytest.raises(WeightsError, match=r"block_4 of .*00\.png holds numbers that are not finite"):
        embed(EmbedConfig(str(photos), str(weights), tmp_path / "f.parquet", **FAST))
    assert not (tmp_path / "f.parquet").exists()


@pytest.mark.parametrize(
    ("out", "more", "told"),
    [
        ("f.npy", ["--layers", "1,7", "--each-layer", "--pool", "mean"], "2 columns"),
        ("a file/f.npy", [], "is not a folder"),
        ("taken.npy", [], "is a folder"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_first_image(
    out: str, more: list[str], told: str, photos: Path, weights: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(Embedder, "work", lambda *_: pytest.fail("an image was read"))
    (tmp_path / "taken.npy").mkdir()
    (tmp_path / "a file").touch()
    words = ["embed", str(photos), "--weights", str(weights), "--device", "cpu", "--out", str(tmp_path / out)]
    assert main([*words, *more]) == 2
    assert told in capsys.readouterr().err


def test_too_small_a_disk_is_told_before_the_first_image(
    photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(UserError, match=r"needs about .* and 1 kB are free"):
        embed(EmbedConfig(str(photos), str(weights), tmp_path / "f.parquet", **FAST))


@pytest.mark.parametrize("name", ["nearest.xyz", "nearest", "photos"])
def test_similar_refuses_a_picture_that_cannot_be_written(
    name: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["similar", str(photos / "00.png"), "--index", str(tmp_path / "none.parquet"), "--out"]
    assert main([*words, str(tmp_path / name)]) == 2
    assert "must end in" in capsys.readouterr().err
    assert json.dumps(sorted(p.name for p in tmp_path.iterdir())) == '["photos"]'


def test_an_index_that_is_not_finite_ranks_nothing(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = pa.array(np.full(8, np.nan, np.float16))
    lists = pa.FixedSizeListArray.from_arrays(values, 4)
    table = pa.table({"path": ["a", "b"], "height": pa.array([1, 1], pa.int32()), "features": lists})
    write_table(tmp_path / "f.parquet", [table], FACTS, {}, {})
    words = ["similar", str(photos / "00.png"), "--index", str(tmp_path / "f.parquet")]
    assert main([*words, "--out", str(tmp_path / "s.png")]) == 2
    assert "not finite" in capsys.readouterr().err
