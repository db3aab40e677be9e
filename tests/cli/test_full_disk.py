"""A disk that is full, in every verb that writes: an error in words, and nothing unfinished under a final name."""

from __future__ import annotations

import contextlib
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from embed_fixtures import photos as photos
from embed_fixtures import weights as weights
from labeled import write_labeled
from nextpatch.cli import main

VERBS = {
    "embed": ["embed", "{photos}", "--weights", "{weights}", "--out", "{out}/f.npy", "--device", "cpu"],
    "embed-folder": ["embed", "{photos}", "--weights", "{weights}", "--out", "{out}/f", "--device", "cpu"],
    "probe": ["probe", "{weights}", "--data", "{labeled}", "--out", "{out}/p", "--cache", "{out}/c",
              "--probes", "linear", "--lrs", "1e-3", "--epochs", "1", "--layers", "0", "--device", "cpu"],
    "finetune": ["finetune", "--weights", "{weights}", "--data", "{labeled}", "--out", "{out}/f", "--epochs", "1",
                 "--device", "cpu"],
    "inspect": ["data", "inspect", "{photos}", "--json", "{out}/found.json", "--bad", "{out}/bad.jsonl"],
    "preview": ["data", "preview", "{photos}", "--out", "{out}/sheet.png", "--images", "1"],
    "pack": ["data", "pack", "{photos}", "--out", "{out}/packed"],
    "tokenizer": ["tokenizer", "fit", "{photos}", "--out", "{out}/t.safetensors", "--codes", "8", "--device", "cpu"],
    "safetensors": ["export", "{weights}", "--out", "{out}/w"],
    "timm": ["export", "{weights}", "--to", "timm", "--out", "{out}/w.safetensors"],
}  # fmt: skip
SLOW = {
    "torch.export": ["export", "{weights}", "--to", "torch.export", "--out", "{out}/w.pt2", "--what", "pooled"],
    "onnx": ["export", "{weights}", "--to", "onnx", "--out", "{out}/w.onnx", "--what", "pooled"],
}
LIMIT = 1000  # bytes of a file


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file grows beyond some bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("verb", [*VERBS, *(pytest.param(verb, marks=pytest.mark.slow) for verb in SLOW)])
def test_a_full_disk_is_told_and_leaves_no_file_cut_off(
    verb: str, photos: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labeled = write_labeled(tmp_path / "labeled", 4, 0)
    places = {"photos": photos, "weights": weights, "labeled": labeled, "out": tmp_path / "out"}
    with full_disk():
        code = main([word.format(**places) for word in {**VERBS, **SLOW}[verb]])
    error = capsys.readouterr().err
    assert code == 2
    assert "too large" in error or "cannot be written" in error or "No space" in error, error
    whole = [file for file in (tmp_path / "out").rglob("*") if file.is_file() and not file.name.startswith(".")]
    assert not [file for file in whole if file.stat().st_size >= LIMIT and file.suffix not in (".txt", ".jsonl")]


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_small_file_system_is_told_too(
    verb: str, photos: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labeled = write_labeled(tmp_path / "labeled", 4, 0)
    (tmp_path / "out").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(tmp_path / "out")]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    places = {"photos": photos, "weights": weights, "labeled": labeled, "out": tmp_path / "out"}
    try:
        assert main([word.format(**places) for word in VERBS[verb]]) == 2
        error = capsys.readouterr().err
        assert "No space" in error or "cannot be written" in error or "are free on the disk" in error, error
    finally:
        subprocess.run(["umount", str(tmp_path / "out")], check=True)
