"""A journal survives a kill in the middle of a line, and knows what is no longer there."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextpatch.data.error import DataError
from nextpatch.tasks.curate.journal import Journal, Step
from nextpatch.tasks.curate.shard import Written

STEPS = [Step(Written(f"{n:05}.tar", 3, 10 + n, "ab"), 4 * (n + 1), n) for n in range(3)]


def written(folder: Path) -> Path:
    path = folder / "state" / "journal.jsonl"
    journal = Journal.open(path, {"seed": 1})
    for step in STEPS:
        journal.add(step)
        (folder / step.shard.name).write_bytes(bytes(step.shard.bytes))
    return path


def test_what_was_added_is_read_again(tmp_path: Path) -> None:
    again = Journal.open(written(tmp_path), {"seed": 1})
    assert again.steps == STEPS
    assert (again.position, again.samples) == (12, 9)


def test_a_line_cut_anywhere_is_as_if_never_written(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in range(last, len(whole)):
        path.write_bytes(whole[:end])
        again = Journal.open(path, {"seed": 1})
        assert again.steps == STEPS[:2]
        again.add(STEPS[2])
        assert path.read_bytes() == whole


def test_a_shard_that_is_gone_takes_those_after_it_along(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "00001.tar").unlink()
    journal = Journal.open(path, {"seed": 1})
    journal.check(tmp_path)
    assert journal.steps == Journal.open(path, {"seed": 1}).steps == STEPS[:1]


def test_other_settings_and_nonsense_are_errors(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(DataError, match="seed 1 \\(now 2\\)"):
        Journal.open(path, {"seed": 2})
    path.write_text(path.read_text() + "{]\n")
    with pytest.raises(DataError, match="damaged"):
        Journal.open(path, {"seed": 1})
