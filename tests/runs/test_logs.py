"""What a run writes down as it goes."""

import io
import json
import logging

import pytest
from rich.console import Console

from nextpatch.core.errors import FileError
from nextpatch.data.skipped import Skipped
from nextpatch.runs.logs import Logs, entries_of, log_to, tell_missing
from nextpatch.runs.sinks import names


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_entry_is_on_file_at_once_and_later_ones_are_appended(tmp_path):
    with Logs(tmp_path) as logs:
        logs.metric("train", 1, loss=2.5)
        assert lines(tmp_path / "metrics.jsonl") == [{"kind": "train", "step": 1, "loss": 2.5}]
    with Logs(tmp_path, step=1) as logs:
        logs.metric("val", 1, loss=2.0, position_loss=[1.0, None])
        logs.sync()
    assert [entry["kind"] for entry in lines(tmp_path / "metrics.jsonl")] == ["train", "val"]


def test_numbers_read_back_exactly(tmp_path):
    with Logs(tmp_path) as logs:
        logs.metric("train", 1, loss=0.1 + 0.2)
    assert lines(tmp_path / "metrics.jsonl")[0]["loss"] == 0.1 + 0.2


def test_a_bad_sample_is_named_once_in_the_life_of_a_run(tmp_path):
    bad = {}
    with Logs(tmp_path, watched=(bad,)) as logs:
        bad["a.png"] = Skipped("damaged", "truncated", "photos")
        logs.bad_samples()
        bad["b.png"] = Skipped("empty", "empty file", "photos")
        logs.bad_samples()
    path = tmp_path / "bad_samples.jsonl"
    path.write_text(path.read_text() + '{"key": "c.p')  # torn by a kill
    bad["c.png"] = Skipped("too large", "a bomb", "photos")
    with Logs(tmp_path, watched=({}, bad)):
        """What is found is written when the session ends, too."""
    assert [entry["key"] for entry in lines(path)] == ["a.png", "b.png", "c.png"]
    assert lines(path)[2] == {"key": "c.png", "kind": "too large", "reason": "a bomb", "source": "photos"}


def test_damaged_lines_of_the_bad_samples_block_nothing(tmp_path, caplog):
    path = tmp_path / "bad_samples.jsonl"
    path.write_bytes(b'{"key": "a.png"}\n\xff\xfe{\n[1]\n{"no": 1}\n{"key": 3}\n{"key": "b.p')
    entry = Skipped("empty", "empty file", "photos")
    with Logs(tmp_path, watched=({"a.png": entry, "b.png": entry},)):
        """Both are known when it opens."""
    assert "2 damaged lines were passed over" in caplog.text
    assert path.read_bytes().count(b"a.png") == 1
    assert json.loads(path.read_bytes().splitlines()[-1])["key"] == "b.png"


@pytest.mark.parametrize("odd", [float("inf"), float("nan")])
def test_a_number_that_is_not_finite_is_null_with_a_word(tmp_path, odd):
    with Logs(tmp_path) as logs:
        logs.metric("val", 3, loss=odd, images=4, position_loss=[1.0, None, odd])
    entry = {"kind": "val", "step": 3, "loss": None, "images": 4, "position_loss": [1.0, None, None]}
    assert lines(tmp_path / "metrics.jsonl") == [{**entry, "not_finite": {"loss": str(odd), "position_loss": str(odd)}}]


def test_no_bad_sample_leaves_no_file(tmp_path):
    with Logs(tmp_path, watched=({},)) as logs:
        logs.bad_samples()
    assert not (tmp_path / "bad_samples.jsonl").exists()


def test_tensorboard_gets_the_numbers(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with Logs(tmp_path) as logs:
        logs.metric("train", 3, loss=2.5)
        logs.metric("val", 3, loss=2.0, chunk_loss=[2.0])
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(events.Tags()["scalars"]) == ["train/loss", "val/loss"]
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(3, 2.5)]


def test_without_tensorboard_there_is_a_note_and_metrics_all_the_same(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(names, "find_spec", lambda name: None)
    with caplog.at_level(logging.INFO, "nextpatch"), Logs(tmp_path) as logs:
        logs.metric("train", 1, loss=1.0)
    assert "nextpatch[tensorboard]" in caplog.text
    assert len(lines(tmp_path / "metrics.jsonl")) == 1
    assert not (tmp_path / "tensorboard").exists()


def test_messages_go_to_file_and_console_while_inside(tmp_path):
    out = io.StringIO()
    console = Console(file=out, width=20)
    log = logging.getLogger("nextpatch.somewhere")
    with log_to(tmp_path / "log.txt", console):
        log.warning("skipped [a].png: %s", "a reason longer than the console is wide")
    log.warning("outside")
    text = (tmp_path / "log.txt").read_text()
    assert "WARNING skipped [a].png: a reason longer than the console is wide" in text
    assert "outside" not in text
    assert out.getvalue() == "skipped [a].png: a reason longer than the console is wide\n"


def test_missing_entries_are_said_when_a_run_goes_on(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    tell_missing(path, 6)
    assert "nothing of the steps before 7" in caplog.text
    path.write_text('{"kind": "val", "step": 4}\n')
    tell_missing(path, 6)
    assert "nothing of the steps before 4" in caplog.text
    caplog.clear()
    path.write_text('{"kind": "val", "step": 0}\n')
    tell_missing(path, 6)
    tell_missing(tmp_path / "none.jsonl", 0)
    assert not caplog.text


def test_a_link_to_itself_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.symlink_to(path)
    with pytest.raises(FileError, match=r"metrics\.jsonl"):
        entries_of(path)
