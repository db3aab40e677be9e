from __future__ import annotations

import json
import logging
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from nextpatch.core.locks import locked
from nextpatch.data.storage import disk_quota as room
from nextpatch.data.storage.cache import Cache

SPAWN = multiprocessing.get_context("spawn")
CAP, SIZE = 1_000_000, 300_000


def fetch_all(root, places):
    room.FRESH_S = 0.05
    for place in places:
        Cache(root, CAP).local(place)


def held(root):
    """Bytes of all files, on their way or here; what vanishes meanwhile is gone."""
    total = 0
    for path in (root / "files").glob("*/*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def part_of(cache, place):
    path = cache._path(place)
    return path.with_name(path.name + room.PART)


def test_all_readers_together_keep_to_the_limit(server, tmp_path):
    server.pause_s = 0.01
    places = [f"{server.url}/{number}.bin" for number in range(12)]
    for place in places:
        server.files[place.removeprefix(server.url)] = os.urandom(SIZE)
    crew = [SPAWN.Process(target=fetch_all, args=(tmp_path, places[number::4])) for number in range(4)]
    for process in crew:
        process.start()
    most = 0
    while any(process.is_alive() for process in crew):
        most = max(most, held(tmp_path))
        time.sleep(0.001)
    assert [process.exitcode for process in crew] == [0] * 4
    assert 2 * SIZE < most <= CAP + 10_000  # the notes of what is on its way are not counted
    assert sum(server.served.values()) == 12 * SIZE


def test_what_nobody_goes_on_with_makes_room(server, tmp_path, monkeypatch):
    cache = Cache(tmp_path, CAP)
    left, busy = (part_of(cache, f"{server.url}/{name}.tar") for name in ("left", "busy"))
    for part in (left, busy):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(bytes(100))
        part.with_suffix(room.NOTE).write_text(json.dumps({"version": {}, "size": 400_000}))
        os.utime(part, (time.time() - 100, time.time() - 100))
    monkeypatch.setattr(room, "WAIT_S", 0.2)
    with locked(Path(f"{busy.with_suffix('')}{room.LOCK}")):
        cache.local(f"{server.url}/b.tar")
    assert (left.exists(), busy.exists()) == (False, True)
    assert not left.with_suffix(room.NOTE).exists()


def test_what_was_just_used_is_waited_for_and_then_the_limit_gives_way(server, tmp_path, monkeypatch, caplog):
    server.files["/c.tar"] = os.urandom(900_000)
    cache = Cache(tmp_path, CAP)
    near = cache.local(f"{server.url}/c.tar")
    monkeypatch.setattr(room, "WAIT_S", 0.3)
    with caplog.at_level(logging.WARNING):
        assert cache.local(f"{server.url}/b.tar").stat().st_size == 300_001
    assert near.exists()
    assert "too small for the files in use at once; raise $NEXTPATCH_CACHE_GIB" in caplog.text


@pytest.mark.parametrize("changed", ["boot", "longer", "note"])
def test_a_part_that_cannot_be_trusted_is_fetched_anew(server, tmp_path, monkeypatch, changed):
    cache, place = Cache(tmp_path, CAP), f"{server.url}/b.tar"
    server.faults = ["", *["500"] * 8]
    with pytest.raises(OSError, match="500"):
        cache.local(place)
    part = part_of(cache, place)
    assert part.read_bytes() == server.files["/b.tar"][:100_000]
    if changed == "boot":
        monkeypatch.setattr(room, "boot_id", lambda: "another")
    elif changed == "note":
        part.with_suffix(room.NOTE).write_text('{"version"')
    part.write_bytes(bytes(300_002 if changed == "longer" else 100_000))
    assert cache.local(place).read_bytes() == server.files["/b.tar"]


@pytest.mark.parametrize("name", ["a.part", "a.note", "a.lock", "a.json"])
def test_a_file_may_be_called_as_ours_are(server, tmp_path, name):
    server.files[f"/{name}"] = b"content"
    cache = Cache(tmp_path, 300_003)
    near = cache.local(f"{server.url}/{name}")
    assert near.read_bytes() == b"content"
    os.utime(near, (0, 0))
    cache.local(f"{server.url}/b.tar")
    assert not near.exists()  # counted, and given up
