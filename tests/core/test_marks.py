"""What nextpatch writes is known again, and nothing else is: so no output replaces somebody's file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from nextpatch.core.errors import UserError
from nextpatch.core.files import write_json
from nextpatch.core.marks import is_ours
from nextpatch.core.output import check_file, check_folder, picture_kind, save_picture
from nextpatch.core.tensors import save_safetensors
from nextpatch.tasks.embed.columns import metadata_of

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8))


@pytest.mark.parametrize("ending", [".png", ".jpg", ".jpeg", ".webp"])
def test_a_picture_is_ours_where_we_drew_it(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"look{ending}"
    save_picture(PICTURE, path)
    assert is_ours(path)
    PICTURE.save(path)
    assert not is_ours(path)


@pytest.mark.parametrize("ending", [".tif", ".gif", ".bmp", ".pdf", ".ico", ""])
def test_no_picture_is_written_that_carries_no_mark(ending: str) -> None:
    with pytest.raises(UserError, match=r"end in \.png, \.jpg or \.webp"):
        picture_kind(Path(f"look{ending}"))


def test_json_is_ours_by_its_digest_and_lines_by_their_first_key(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_json(path, {"a": [1, 2], "sha256": "of another"})
    assert is_ours(path)
    path.write_text(path.read_text().replace("1", "3"))  # somebody edited it
    assert not is_ours(path)
    path.write_text('{"nextpatch": "unusable image", "key": "a"}\n{"nextpatch"')
    assert is_ours(path)
    for text in ('{"key": "nextpatch"}', '{"sha256": "0"}', "[1]", "{", "nextpatch", '[{"nextpatch": 1}]'):
        path.write_text(text)
        assert not is_ours(path), text


def test_tables_and_tensors_are_ours_by_their_metadata(tmp_path: Path) -> None:
    table, tensors = pa.table({"path": ["nextpatch"]}), {"nextpatch": torch.zeros(2)}
    lost = {f"{number:05}.png": ["empty", "x", "y"] for number in range(5000)}  # more than the last bytes hold
    pq.write_table(table.replace_schema_metadata(metadata_of({"dim": 2}, lost)), tmp_path / "ours")
    assert is_ours(tmp_path / "ours")
    pq.write_table(table, tmp_path / "theirs")
    assert not is_ours(tmp_path / "theirs")
    save_safetensors(tmp_path / "ours", tensors, {"classes": json.dumps(list(lost))})
    assert is_ours(tmp_path / "ours")
    save_file(tensors, tmp_path / "theirs", {"made": "by nextpatch"})
    assert not is_ours(tmp_path / "theirs")


@pytest.mark.parametrize(
    "data",
    [
        *(b"II+\0\x08\0\0\0nextpatch", b"MM\0+nextpatch", b"P6 1 1 255\nnextpatch", b"\0\0\0\x18ftyphevcnextpatch"),
        *(b"\x93NUMPYnextpatch", b"<!doctype html>nextpatch", b"PK\x03\x04nextpatch", b"\x08nextpatch", b"a,b\n", b" "),
    ],
)
def test_whatever_else_is_there_is_refused_before_work(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.out"
    path.write_bytes(data)
    with pytest.raises(UserError, match="is not replaced; remove it, or choose another name"):
        check_file(path)
    with pytest.raises(UserError, match="is not replaced; remove it, or choose another name"):
        check_file(tmp_path / "new", beside=[path])
    with pytest.raises(UserError, match="is not replaced; remove it, or choose another name"):
        check_folder(tmp_path, files=["new", "x.out"])
    path.write_bytes(b"")  # nothing is lost
    check_file(path)


def test_a_file_without_room_for_a_mark_is_ours_beside_one_that_is(tmp_path: Path) -> None:
    for name in ("bench.csv", "bench.md"):
        (tmp_path / name).write_text("a,b\n")
    names = ["bench.md", "bench.csv", "bench.json"]
    (tmp_path / "bench.json").write_text("")  # empty: says nothing of the others
    with pytest.raises(UserError, match=r"bench\.md"):
        check_folder(tmp_path, files=names)
    write_json(tmp_path / "bench.json", {})
    check_folder(tmp_path, files=names)
    (tmp_path / "bench.json").write_text("{}")
    with pytest.raises(UserError, match=r"bench\.md"):
        check_folder(tmp_path, files=names)
