"""Checkpoints survive what disks, kills and strangers do to them."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nextpatch.core import files as core_files
from nextpatch.dist.ranks import Ranks
from nextpatch.runs.checkpoint import (
    CheckpointError,
    checkpoint_at,
    newest_checkpoint,
    prune,
    save_checkpoint,
    verification,
    verify,
)
from nextpatch.runs.checkpoint import save as saving
from nextpatch.runs.checkpoint.files import fingerprint
from saved import is_whole, save, tensors

FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


def test_what_was_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    for step in (2, 10):
        save(tmp_path, step)
    assert is_whole(tmp_path, 10)
    assert checkpoint_at(tmp_path, 2).state["step"] == 2
    save(tmp_path, 10)  # the same step again
    assert is_whole(tmp_path, 10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_00000002", "step_00000010"]


def test_every_kind_of_tensor_keeps_its_bits(tmp_path: Path) -> None:
    group = {
        "special": torch.tensor([float("nan"), -0.0, float("inf")]),
        "rng": torch.arange(5, dtype=torch.uint8),
        "flags": torch.tensor([True, False]),
        "half": torch.tensor([1 / 3], dtype=torch.float16),
        "empty": torch.empty(0, 2),
    }
    save_checkpoint(tmp_path, 1, {"model": group}, {"é": [1 / 3, None, True, 2**60]})
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.state == {"é": [1 / 3, None, True, 2**60]}
    for name, tensor in found.tensors("model").items():
        assert (tensor.dtype, tensor.shape) == (group[name].dtype, group[name].shape)
        assert tensor.numpy().tobytes() == group[name].numpy().tobytes()


def test_it_is_on_the_disk_before_it_has_its_name_and_its_name_is_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, rename = core_files.sync, Path.rename
    monkeypatch.setattr(saving, "sync", lambda path: (done.append(path.name), sync(path)))
    monkeypatch.setattr(Path, "rename", lambda path, to: (done.append("rename"), rename(path, to))[1])
    save(tmp_path, 1)
    assert set(done[:-3]) == {*FILES, "manifest.json"}
    assert done[-3:] == ["unfinished_00000001", "rename", tmp_path.name]


def test_what_does_not_read_back_as_written_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    sync = core_files.sync

    def lying(path: Path) -> None:
        sync(path)
        if path.name == "model.safetensors":
            flipped(path)

    monkeypatch.setattr(saving, "sync", lying)
    with pytest.raises(OSError, match=r"step_00000002 did not read back as written: model\.safetensors"):
        save(tmp_path, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000001"]


def test_what_a_killed_save_or_removal_left_is_no_checkpoint_and_is_cleared_by_the_writer(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    (tmp_path / "step_00000003").rename(tmp_path / "removed_step_00000003")
    (tmp_path / "step_00000002").rename(tmp_path / "unfinished_00000002")
    assert is_whole(tmp_path, 1)
    assert len(list(tmp_path.iterdir())) == 3  # a reader touches nothing
    save(tmp_path, 2)  # over its own leftover
    (tmp_path / "unfinished_00000009").mkdir()
    newest_checkpoint(tmp_path, mend=True)
    assert {p.name for p in tmp_path.iterdir()} == {"step_00000001", "step_00000002"}
    (tmp_path / "unfinished_00000004").mkdir()
    (tmp_path / "unfinished_00000004" / "stray.bin").write_bytes(b"x")
    assert not (save(tmp_path, 4) / "stray.bin").exists()


def test_the_files_are_as_readable_as_their_folder(tmp_path: Path) -> None:
    for file in save(tmp_path, 1).iterdir():
        assert file.stat().st_mode & 0o044 == file.parent.stat().st_mode & 0o044


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def grown(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b" ")


def replaced_by_garbage(file: Path) -> None:
    file.write_bytes(b"\x00\xff" * 20)


def deleted(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
@pytest.mark.parametrize("damage", [emptied, truncated, flipped, grown, replaced_by_garbage, deleted])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    damage: Callable[[Path], None], name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if (damage, name) == (grown, "manifest.json"):
        pytest.skip("white space after JSON is no damage")
    save(tmp_path, 1)
    damage(save(tmp_path, 2) / name)
    with caplog.at_level(logging.WARNING):
        assert is_whole(tmp_path, 1)
    assert "step_00000002 is damaged" in caplog.text
    assert (tmp_path / "step_00000002").is_dir()  # a reader touches nothing
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint_at(tmp_path, 2)
    found = newest_checkpoint(tmp_path, mend=True)
    assert found is not None
    assert found.step == 1
    assert (tmp_path / "step_00000002.damaged").is_dir()
    assert not (tmp_path / "step_00000002").exists()
    assert "set aside as step_00000002.damaged" in caplog.text
    save(tmp_path, 2)
    assert is_whole(tmp_path, 2)


def test_nothing_that_verifies_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    for _ in range(2):
        truncated(save(tmp_path, 1) / "model.safetensors")
        assert newest_checkpoint(tmp_path, mend=True) is None
    assert {p.name for p in tmp_path.iterdir()} == {"step_00000001.damaged", "step_00000001.damaged-2"}


def test_a_checkpoint_copied_over_another_is_noticed(tmp_path: Path) -> None:
    save(tmp_path, 1)
    shutil.copytree(tmp_path / "step_00000001", tmp_path / "step_00000005")
    assert is_whole(tmp_path, 1)


def test_pickles_are_never_read(tmp_path: Path) -> None:
    save(tmp_path, 1)
    newer = save(tmp_path, 2)
    torch.save(tensors(2)["model"], newer / "model.pt")
    assert verify(newer) == ["model.pt is not in the manifest"]
    assert is_whole(tmp_path, 1)
    shutil.rmtree(newer)
    newer = save(tmp_path, 2)
    torch.save(tensors(2)["model"], newer / "model.safetensors")
    entries = json.loads((newer / "manifest.json").read_text())
    entries["model.safetensors"] = fingerprint(newer / "model.safetensors")  # even with a fitting manifest
    (newer / "manifest.json").write_text(json.dumps(entries))
    with pytest.raises(Exception, match=r"(?i)header|safetensor"):
        checkpoint_at(tmp_path, 2).tensors("model")


def test_a_state_that_is_not_json_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    for value in (float("nan"), torch.ones(1)):
        with pytest.raises((ValueError, TypeError)):
            save_checkpoint(tmp_path, 1, tensors(1), {"loss": value})
    assert list(tmp_path.iterdir()) == []


def test_prune_keeps_the_newest_and_what_was_set_aside(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        save(tmp_path, step)
    (tmp_path / "step_00000009.damaged").mkdir()
    prune(tmp_path, 2)
    assert {p.name for p in tmp_path.iterdir()} == {"step_00000003", "step_00000010", "step_00000009.damaged"}


@pytest.mark.parametrize("removing", [lambda folder: prune(folder, 2), lambda folder: save(folder, 3)])
def test_a_removal_killed_half_way_leaves_no_checkpoint_with_half_its_files(
    removing: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)

    def killed(path: Path, ignore_errors: bool = False) -> None:
        if path.exists():
            (path / "model.safetensors").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            removing(tmp_path)
    there = list(tmp_path.glob("step_*"))
    assert len(there) >= 2
    assert all(verify(path) == [] for path in there)


def test_a_step_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    save(tmp_path, 3)
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 4 .*there are: 3"):
        checkpoint_at(tmp_path, 4)


def test_reading_while_the_run_prunes_finds_the_newer_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def verified_too_late(path: Path, world: Ranks) -> list[str]:
        monkeypatch.setattr(verification, "verify", verify)
        save(tmp_path, 2)
        shutil.rmtree(path)
        return verify(path, world)

    monkeypatch.setattr(verification, "verify", verified_too_late)
    assert is_whole(tmp_path, 2)
