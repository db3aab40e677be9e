"""Every image is looked at once, and what is found is what is there."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nextpatch.data.skipped import Bad
from nextpatch.data.sources.folder import FolderSource
from nextpatch.model.config import ModelConfig
from nextpatch.tasks.curate.duplicates import repeated
from nextpatch.tasks.curate.inspection import Findings, inspect
from nextpatch.tasks.curate.table import show

QUIET = Console(file=io.StringIO())


def looked(root: Path, **options) -> tuple[Findings, Bad]:
    return inspect(FolderSource(root), console=QUIET, **options)


def test_counts_are_those_of_the_folder(photos: Path) -> None:
    found, bad = looked(photos)
    assert (found.images, found.looked_at, found.usable, len(bad)) == (43, 43, 40, 3)
    assert found.formats == {"png": 14, "jpg": 13, "webp": 13}
    assert found.classes == {"cat": 30, "dog": 10}
    assert found.channels == {3: 40}
    assert found.height == (12, 12, 12, 480)
    assert found.width == (10, 10, 10, 400)
    assert found.shorter_side == [(1, 16, 40)]


def test_bytes_are_those_of_the_files(photos: Path) -> None:
    found, bad = looked(photos)
    sizes = sorted(path.stat().st_size for path in photos.rglob("*.*") if str(path) not in bad)
    assert (found.bytes.least, found.bytes.most, found.bytes.total) == (sizes[0], sizes[-1], sum(sizes))


def test_what_cannot_be_used_is_named_by_kind(photos: Path) -> None:
    found, bad = looked(photos)
    assert {Path(key).name for key in bad} == {"empty.jpg", "cut.jpg", "page.jpg"}
    assert sum(kind["count"] for kind in found.unusable.values()) == 3
    assert all(kind["examples"][0]["reason"] for kind in found.unusable.values())


def test_headers_alone_do_not_show_what_was_cut_off(photos: Path) -> None:
    found, bad = looked(photos, fast=True)
    assert {Path(key).name for key in bad} == {"empty.jpg", "page.jpg"}
    assert not found.decoded


def test_workers_find_the_same(photos: Path) -> None:
    alone, shared = (looked(photos, workers=workers) for workers in (0, 2))
    assert alone[1] == shared[1]
    same = {"elapsed_s": 0.0, "workers": 0}
    assert alone[0].__dict__ | same == shared[0].__dict__ | same


def test_a_limit_looks_at_so_many_from_end_to_end(photos: Path) -> None:
    found, _ = looked(photos, limit=10, fast=True)
    assert found.looked_at == 10
    assert found.images == 43
    assert min(found.classes.values()) > 0


def test_copies_are_found_and_those_with_another_label_named(photos: Path) -> None:
    shutil.copy(photos / "cat" / "1.jpg", photos / "cat" / "same.jpg")
    shutil.copy(photos / "cat" / "1.jpg", photos / "cat" / "same again.jpg")
    shutil.copy(photos / "dog" / "0.png", photos / "cat" / "other label.png")
    duplicates = looked(photos)[0].duplicates
    assert (duplicates["groups"], duplicates["extra"], duplicates["contradicting"]) == (2, 3, 1)
    assert "3 copies, of 2 different images" in printed(looked(photos)[0])
    named = {Path(key.rpartition(" (")[0]).name for key in duplicates["contradicting_examples"][0]}
    assert named == {"0.png", "other label.png"}


def test_repeated_rows_are_those_that_are_equal() -> None:
    rng = np.random.default_rng(0)
    digests = rng.integers(0, 6, (200, 2)).astype(np.uint64)  # halves agree more often than wholes
    wanted = {}
    for row, digest in enumerate(digests.tolist()):
        wanted.setdefault(tuple(digest), []).append(row)
    groups = [group.tolist() for group in repeated(digests)]
    assert groups == sorted(rows for rows in wanted.values() if len(rows) > 1)
    assert repeated(digests[:0]) == []


@pytest.mark.parametrize(("channels", "unfit"), [(3, 1), (1, 1), (6, 2)])
def test_channels_that_the_model_cannot_take_are_unusable(channels: int, unfit: int, tmp_path: Path, image) -> None:
    (tmp_path / "color.png").write_bytes(image(0))
    (tmp_path / "grey.png").write_bytes(image(1, channels=1))
    np.save(tmp_path / "bands.npy", np.zeros((8, 8, 6), np.uint8))
    model = ModelConfig(size="nano", img_size=(8, 8), patch_size=4, in_chans=channels)
    for fast in (False, True):
        found, bad = looked(tmp_path, model=model, fast=fast)
        assert {key: entry["count"] for key, entry in found.unusable.items()} == {"wrong channels": unfit}
        assert found.usable == sum(found.channels.values()) == 3 - unfit
        assert len(bad) == unfit
    assert looked(tmp_path)[0].channels == {1: 1, 3: 1, 6: 1}


def test_images_smaller_than_the_model_sees_are_counted(tmp_path: Path, image) -> None:
    for number, (height, width) in enumerate([(16, 16), (15, 40), (40, 15), (17, 17)]):
        (tmp_path / f"{number}.png").write_bytes(image(number, height, width))
    found, _ = looked(tmp_path, model=ModelConfig(size="nano", img_size=(16, 16), patch_size=4))
    assert found.smaller == 2


def test_a_folder_of_which_nothing_can_be_used_is_still_told_about(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    found, bad = looked(tmp_path)
    assert (found.usable, len(bad), found.formats) == (0, 1, {})
    assert "unusable" in printed(found)


def printed(found: Findings) -> str:
    out = io.StringIO()
    show(found, Console(file=out, width=100))
    return out.getvalue()


def test_the_table_names_trouble_and_says_when_there_is_none(photos: Path) -> None:
    text = printed(looked(photos)[0])
    assert "cut.jpg" in "".join(text.split())  # a long path is wrapped
    assert "2 classes from dog (10) to cat (30)" in text
    for name in ("empty.jpg", "cut.jpg"):
        (photos / "cat" / name).unlink()
    (photos / "dog" / "page.jpg").unlink()
    assert "unusable      none" in printed(looked(photos)[0])


def test_names_of_any_characters_stay_on_their_line(tmp_path: Path, image) -> None:
    for name in ("a\x1b[31m", "b\n[bold]"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1\n\udce9.png").write_bytes(image(0))
        (tmp_path / name / "2\n\udce9.png").write_bytes(b"")
    text = printed(looked(tmp_path)[0])
    assert "\x1b" not in text
    assert "1\\x0a\\xe9.png" in "".join(text.split())
    assert "2\\x0a\\xe9.png" in "".join(text.split())
