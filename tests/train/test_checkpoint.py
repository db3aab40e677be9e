"""Checkpoints survive what disks, kills and strangers do to them."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nextpatch.train import checkpoint
from nextpatch.train.checkpoint import CheckpointError, checkpoint_at, newest_checkpoint, prune, save_checkpoint, verify
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
    entries["model.safetensors"] = checkpoint._fingerprint(newer / "model.safetensors")  # even with a fitting manifest
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


def test_a_step_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    save(tmp_path, 3)
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 4 .*there are: 3"):
        checkpoint_at(tmp_path, 4)


def test_reading_while_the_run_prunes_finds_the_newer_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def verified_too_late(path: Path) -> list[str]:
        monkeypatch.setattr(checkpoint, "verify", verify)
        save(tmp_path, 2)
        shutil.rmtree(path)
        return verify(path)

    monkeypatch.setattr(checkpoint, "verify", verified_too_late)
    assert is_whole(tmp_path, 2)
