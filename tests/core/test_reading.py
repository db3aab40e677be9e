"""Whatever the bytes of a file are, the readers give what was written, or one named error."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextpatch.core.errors import FileError
from nextpatch.core.files import replacing, write_json, write_text
from nextpatch.core.reading import parquet_facts, read_json, read_jsonl, read_toml
from nextpatch.core.tensors import read_safetensors, save_safetensors
from nextpatch.core.writer import is_new

VALUES = {"a": 1.5, "b": ["x", None], "c": {"d": True}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("read")


def test_json_comes_back_and_any_flip_in_it_is_found(place: Path):
    path = place / "a.json"
    write_json(path, VALUES)
    assert read_json(path, "a plan", "make it again") == VALUES
    whole = path.read_bytes()
    for at in range(len(whole)):
        for flip in (1, 0x20, 0x80):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            try:
                found = read_json(path, "a plan", "make it again")
            except FileError as error:
                assert str(path) in str(error)  # noqa: PT017
                assert "make it again" in str(error)  # noqa: PT017
            else:  # white space
                assert found == VALUES


def test_json_without_a_digest_is_anyones(place: Path):
    (place / "b.json").write_text('{"a": 1}')
    assert read_json(place / "b.json", "x", "y") == {"a": 1}


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00", "1" * 5000, "[" * 100_000, '{"a": 1e999', "\ud800"])
def test_what_is_no_json_object_is_a_named_error(place: Path, text: str):
    (place / "c.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(FileError, match=r"c\.json.*make it again"):
        read_json(place / "c.json", "a plan", "make it again")


def test_absent_folder_and_wrong_kind(place: Path):
    with pytest.raises(FileError, match="does not exist"):
        read_json(place / "none.json", "a plan", "make it again")
    with pytest.raises(FileError, match="directory"):
        read_json(place, "a plan", "make it again")
    with pytest.raises(FileError, match="does not exist"):
        read_toml(place / "none.toml", "a recipe", "give one")


def test_damaged_lines_are_passed_over_and_counted(place: Path, caplog: pytest.LogCaptureFixture):
    (place / "m.jsonl").write_bytes(b'{"a": 1}\n\xff\x00\n[]\n{"a": 2}\n{"a":')
    assert read_jsonl(place / "m.jsonl") == [{"a": 1}, {"a": 2}]
    assert "2 damaged lines" in caplog.text
    assert read_jsonl(place / "none.jsonl") == []


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200))
def test_no_bytes_let_another_error_out(place: Path, data: bytes):
    path = place / "any"
    path.write_bytes(data)
    readers = (read_json, read_toml, lambda *a: parquet_facts(a[0], "k", *a[1:]), read_safetensors)
    for read in readers:
        try:
            read(path, "a thing", "make it again")
        except FileError as error:
            assert "make it again" in str(error)  # noqa: PT017
    read_jsonl(path)


def test_a_failing_write_names_its_file(tmp_path: Path):
    with pytest.raises(OSError, match=r"t\.bin") as told, replacing(tmp_path / "t.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert told.value.errno == errno.ENOSPC


def test_the_next_call_removes_what_a_killed_one_left_of_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def killed(_: object, draft: Path, __: object) -> None:
        draft.with_name(".tmpX1y2z3").write_bytes(b"half of it, as the library names it")
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr("nextpatch.core.tensors.save_file", killed)
        patched.setattr("nextpatch.core.tensors.shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(SystemExit):
            save_safetensors(tmp_path / "t.safetensors", {"a": torch.ones(3)})
    assert is_new(tmp_path)
    save_safetensors(tmp_path / "t.safetensors", {"a": torch.ones(3)})
    assert [file.name for file in tmp_path.iterdir()] == ["t.safetensors"]


def test_tensors_come_back_and_any_flip_is_found(place: Path):
    path, tensors = place / "t.safetensors", {"b": torch.arange(6).float().view(2, 3), "a": torch.ones(3).bfloat16()}
    save_safetensors(path, {**tensors, "none": torch.empty(0, 4)}, {"format": "x"})
    found, facts = read_safetensors(path, "weights", "get them again")
    assert facts == {"format": "x"}
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    whole = path.read_bytes()
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        try:
            again, _ = read_safetensors(path, "weights", "get them again")
        except FileError:
            continue
        assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())


def test_a_file_that_torch_cannot_map_is_mapped_without_reserving_memory(tmp_path: Path, monkeypatch):
    path = tmp_path / "t.safetensors"
    tensors = {"a": torch.arange(6).reshape(2, 3), "b": torch.randn(4).bfloat16(), "none": torch.empty(0, 4)}
    save_safetensors(path, tensors, {"format": "x"})

    def refused(*words: object, **more: object) -> None:
        raise RuntimeError("unable to mmap 100 bytes: Cannot allocate memory")

    monkeypatch.setattr("nextpatch.core.tensors.safe_open", refused)
    found, facts = read_safetensors(path, "weights", "get them again")
    assert facts == {"format": "x"}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    write_text(tmp_path / "f", "old")

    def half_written() -> None:
        with replacing(tmp_path / "f") as aside:
            aside.write_text("ne")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        half_written()
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_text() == "old"


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert read_toml(path, "a recipe", "mend it") == {"a": 1}
