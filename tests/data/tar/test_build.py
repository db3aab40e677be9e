"""Indexing: the same result however it is cut up, killed, repeated or moved; changes are refused by name."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archives import archive, images, write_shards
from nextpatch.data.error import DataError
from nextpatch.data.storage.location import Entry
from nextpatch.data.tar.build import index_shard, index_shards
from nextpatch.data.tar.index import ShardIndex
from nextpatch.data.tar.index_store import IndexStore
from nextpatch.data.tar.manifest import read_manifest


def entries(paths: list[Path]) -> list[Entry]:
    return [Entry(str(path), path.stat().st_size) for path in paths]


def files(folder: Path) -> dict[str, bytes]:
    """Everything that indexing has left there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_says_what_the_shards_hold(tmp_path: Path) -> None:
    paths = write_shards(tmp_path / "set", 3, 10)
    calls: list[tuple[int, int]] = []
    manifest = index_shards(entries(paths), workers=1, progress=lambda done, total: calls.append((done, total)))
    assert manifest.names == ("00000.tar", "00001.tar", "00002.tar")
    assert manifest.samples.tolist() == [10] * 3
    assert manifest.bytes.tolist() == [path.stat().st_size for path in paths]
    assert manifest.labels.tolist() == [5] * 3
    assert not manifest.damage
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]
    found = read_manifest(tmp_path / "set" / ".nextpatch" / "manifest.json")
    assert found is not None
    assert found.digest == manifest.digest


def test_in_parallel_it_is_byte_for_byte_what_it_is_alone(tmp_path: Path) -> None:
    paths = write_shards(tmp_path / "set", 6, 10)
    index_shards(entries(paths), tmp_path / "one", workers=1)
    index_shards(entries(paths)[::-1], tmp_path / "two", workers=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert len(files(tmp_path / "one")) == 8  # a lock and a manifest besides


def test_it_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_shards(tmp_path / "set", 4, 10)
    index_shards(entries(paths), tmp_path / "whole", workers=1)
    home = tmp_path / "set" / ".nextpatch"

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_shards(entries(paths), workers=1, progress=stop)
    assert sorted(files(home)) == ["index/00000.tar.idx", "index/00001.tar.idx", "lock"]
    read: list[str] = []
    monkeypatch.setattr(
        "nextpatch.data.tar.build.index_shard", lambda entry, name: read.append(name) or index_shard(entry, name)
    )
    index_shards(entries(paths), workers=1)
    assert read == ["00002.tar", "00003.tar"]
    assert files(home) == files(tmp_path / "whole")
    read.clear()
    index_shards(entries(paths), workers=1)
    assert not read


def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    paths = write_shards(tmp_path / "set", 12, 20)
    index_shards(entries(paths), tmp_path / "whole", workers=1)
    code = (
        "import sys, time\nfrom nextpatch.data.storage.location import Entry\n"
        "import nextpatch.data.tar.build as build\n"
        "from pathlib import Path\nreal = build.write_bytes\n"
        "def slow(path, data, **how):\n    time.sleep(0.01); real(path, data, **how)\n"
        "build.write_bytes = slow\nprint('go', flush=True)\n"
        "build.index_shards([Entry(p, Path(p).stat().st_size) for p in sys.argv[1:]], workers=1)\n"
    )
    home = tmp_path / "set" / ".nextpatch"
    seen = set()
    for number in range(5):
        child = subprocess.Popen([sys.executable, "-c", code, *map(str, paths)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        while len(list(home.glob("index/*.idx"))) < 2 * number and child.poll() is None:
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        seen.add(len(list(home.glob("index/*.idx"))))
        for path in home.glob("index/*.idx"):
            assert ShardIndex(path).whole()
        assert not (home / "manifest.json").exists() or len(list(home.glob("index/*.idx"))) == 12
    assert len(seen) > 1, seen
    for name in ("00003.tar.idx.99.part", ".00003.tar.idx.99.unfinished"):  # as versions before named them, and as now
        (home / "index" / name).write_bytes(b"half")
    index_shards(entries(paths), workers=1)
    assert files(home) == files(tmp_path / "whole")


def test_a_killed_parent_leaves_no_processes(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import multiprocessing, os, time\nfrom nextpatch.data.tar.pool import in_processes\n"
        "if __name__ == '__main__':\n"
        "    for _ in in_processes(time.sleep, [0.01, 0.01, 60, 60], 2):\n"
        "        print(*[p.pid for p in multiprocessing.active_children()], flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    workers = [int(pid) for pid in child.stdout.readline().split()]
    child.kill()
    child.communicate()
    assert len(workers) == 2
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in workers)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_one_bad_shard_does_not_keep_the_others_from_being_indexed(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, 4, 5)
    paths[0].write_bytes(archive([("a.jpg", b"x"), ("b.jpg", b"x"), ("a.cls", b"1")]))
    paths[2].write_bytes(b"\x1f\x8b" + paths[2].read_bytes())
    with pytest.raises(DataError, match=r"00000\.tar: key a is at byte 2048 again.*and 1 more"):
        index_shards(entries(paths), workers=1)
    assert len(list(tmp_path.glob(".nextpatch/index/*.idx"))) == 2
    assert not (tmp_path / ".nextpatch" / "manifest.json").exists()


def test_a_shard_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, 2, 5)
    given = entries(paths)
    paths[1].unlink()
    with pytest.raises(OSError, match=r"00001\.tar"):
        index_shards(given, workers=1)


def test_a_changed_size_is_refused_until_it_is_accepted(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, 2, 10)
    index_shards(entries(paths), workers=1)
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[:9000])
    with pytest.raises(
        DataError, match=r"00001\.tar has 9000 bytes where the manifest says \d+ .*3 are usable.*--accept"
    ):
        index_shards(entries(paths), workers=1)
    manifest = index_shards(entries(paths), workers=1, accept_damage=True)
    assert manifest.samples.tolist() == [10, 3]
    assert "cut short" in manifest.damage[1]
    paths[1].write_bytes(whole)
    assert index_shards(entries(paths), workers=1, accept_damage=True).samples.tolist() == [10, 10]


def test_another_content_of_the_same_size_is_found_when_it_is_read_again(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, 2, 10)
    index_shards(entries(paths), workers=1)
    data = bytearray(paths[1].read_bytes())
    data[700] ^= 1
    paths[1].write_bytes(data)
    index = tmp_path / ".nextpatch" / "index" / "00001.tar.idx"
    index.write_bytes(index.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"00001\.tar is not what the manifest says"):
        index_shards(entries(paths), workers=1)


def test_a_damaged_index_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = write_shards(tmp_path, 2, 10)
    index_shards(entries(paths), workers=1)
    home = tmp_path / ".nextpatch"
    before = files(home)
    for place in (2, -2):
        index = home / "index" / "00001.tar.idx"
        data = bytearray(index.read_bytes())
        data[place] ^= 1
        index.write_bytes(data)
        index_shards(entries(paths), workers=1)
        assert files(home) == before


def test_sets_share_a_manifest_and_what_is_gone_leaves_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = write_shards(tmp_path, 4, 5)
    index_shards(entries(paths[2:]), workers=1, classes=["a", "b", "c", "d", "e"])
    manifest = index_shards(entries(paths[:1]), workers=1)
    assert manifest.names == ("00000.tar",)
    assert manifest.classes == ("a", "b", "c", "d", "e")
    found = read_manifest(tmp_path / ".nextpatch" / "manifest.json")
    assert found is not None
    assert found.names == ("00000.tar", "00002.tar", "00003.tar")
    paths[3].unlink()
    with caplog.at_level(logging.WARNING):
        index_shards(entries(paths[:3]), workers=1)
    assert "left out of the manifest: 1 shards that are gone" in caplog.text
    found = read_manifest(tmp_path / ".nextpatch" / "manifest.json")
    assert found is not None
    assert found.names == ("00000.tar", "00001.tar", "00002.tar")


def test_what_is_no_sample_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.tar").write_bytes(archive([("a.jpg", b"x"), ("b.txt", b"x"), ("c.seg.png", b"x")]))
    index_shards(entries([tmp_path / "a.tar"]))
    assert "a.tar: 2 x file of a key without an image" in caplog.text


def test_the_digest_stays_when_the_folder_moves(tmp_path: Path) -> None:
    paths = write_shards(tmp_path / "here", 3, 5)
    before = index_shards(entries(paths)).digest
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = entries(sorted((tmp_path / "there").glob("*.tar")))
    assert index_shards(moved).digest == before
    shutil.rmtree(tmp_path / "there" / ".nextpatch")
    assert index_shards(moved).digest == before


def test_a_shard_given_twice_is_refused(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, 2, 5)
    with pytest.raises(DataError, match=r"00001\.tar is given twice"):
        index_shards(entries([*paths, paths[1]]))


def test_what_is_known_lies_beside_the_shards_or_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTPATCH_CACHE", str(tmp_path / "cache"))
    paths = write_shards(tmp_path / "set", 2, 5)
    assert IndexStore(entries(paths)).home == tmp_path / "set" / ".nextpatch"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert (tmp_path / "cache" / "index") in IndexStore(entries(paths)).home.parents
    index_shards(entries(paths))
    assert not (tmp_path / "set" / ".nextpatch").exists()
    known = IndexStore(entries(paths)).known()
    assert known is not None
    assert known.samples.tolist() == [5, 5]


def test_names_from_a_server_lead_nowhere(tmp_path: Path) -> None:
    store = IndexStore([Entry("https://h/a/../../../../x.tar", 1), Entry("https://h/b" + "c" * 300, 1)], tmp_path)
    assert all(store.path(name).parent == tmp_path / "index" for name in store.names)
    assert all(len(store.path(name).name) < 255 for name in store.names)


def test_shards_in_several_folders(tmp_path: Path) -> None:
    paths = write_shards(tmp_path / "set" / "a", 2, 5) + write_shards(tmp_path / "set" / "b", 2, 6)
    manifest = index_shards(entries(paths))
    assert manifest.names == ("a/00000.tar", "a/00001.tar", "b/00000.tar", "b/00001.tar")
    assert (tmp_path / "set" / ".nextpatch" / "manifest.json").exists()


def test_an_index_is_a_function_of_the_shard(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(archive(images(200)))
    entry = entries([tmp_path / "a.tar"])[0]
    assert index_shard(entry, "x") == index_shard(entry, "x") == index_shard(entry._replace(size=None), "x")


def test_an_interrupt_leaves_no_half_files_and_no_processes(tmp_path: Path) -> None:
    paths = write_shards(tmp_path / "set", 2, 5)
    pipes = [tmp_path / "set" / f"pipe{number}.tar" for number in range(2)]
    for pipe in pipes:
        os.mkfifo(pipe)  # opening it waits for ever
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\nfrom nextpatch.data.storage.location import Entry\n"
        "from nextpatch.data.tar.build import index_shards\n"
        "if __name__ == '__main__':\n"
        "    entries = [Entry(place, None) for place in sys.argv[1:]]\n"
        "    index_shards(entries, workers=2, progress=lambda *n: print(*n, flush=True))\n"
    )
    child = subprocess.Popen(
        [sys.executable, str(script), *map(str, [*paths, *pipes])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    while "2 4" not in child.stdout.readline():
        pass
    time.sleep(0.2)  # both wait in a pipe
    os.killpg(child.pid, signal.SIGINT)
    _, said = child.communicate(timeout=20)
    assert child.returncode != 0
    assert said.count("KeyboardInterrupt") <= 2, said
    left = sorted(files(tmp_path / "set" / ".nextpatch"))
    assert left == ["index/00000.tar.idx", "index/00001.tar.idx", "lock"]
    deadline = time.monotonic() + 10
    while _group_lives(child.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _group_lives(child.pid)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
