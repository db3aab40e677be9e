from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nextpatch.data.error import DataError
from nextpatch.data.storage import cache as module
from nextpatch.data.storage.cache import Cache, default_cache

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path, 10**9)


def fetch(root, place):
    Cache(root, 10**9).local(place)


def age(path, seconds):
    os.utime(path, (time.time() - seconds, time.time() - seconds))


def test_a_file_is_fetched_once_and_is_what_it_is_there(server, cache):
    server.faults = ["drop", "500", "", "short", "stall"]
    for _ in range(3):
        assert cache.local(f"{server.url}/a.tar", 1_000_000).read_bytes() == server.files["/a.tar"]
    assert server.served["/a.tar"] < 1_400_000
    assert cache.holds(f"{server.url}/a.tar")
    assert not cache.holds(f"{server.url}/b.tar")
    assert cache.fetched().bytes == 1_000_000
    assert cache.fetched(time.time() + 1).bytes == 0


def test_near_files_stay_where_they_are(cache, tmp_path):
    assert cache.local(str(tmp_path / "here")) == tmp_path / "here"


def test_four_processes_fetch_a_file_once(server, tmp_path):
    server.pause_s = 0.01
    crew = [SPAWN.Process(target=fetch, args=(tmp_path, f"{server.url}/a.tar")) for _ in range(4)]
    for process in crew:
        process.start()
    for process in crew:
        process.join()
        assert process.exitcode == 0
    assert server.served["/a.tar"] == 1_000_000


def test_a_fetch_that_was_killed_goes_on_where_it_stopped(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 16 * 2**20)
    place, data = f"{server.url}/big.tar", os.urandom(22 * 2**20)
    server.files["/big.tar"], server.pause_s = data, 0.002
    process = SPAWN.Process(target=fetch, args=(tmp_path, place))
    process.start()
    while server.served.get("/big.tar", 0) < 18 * 2**20:  # the first of its chunks is on the disk
        time.sleep(0.01)
        assert process.is_alive()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not Cache(tmp_path, 10**9).holds(place)
    time.sleep(0.2)
    server.pause_s, before = 0, server.served["/big.tar"]
    assert Cache(tmp_path, 10**9).local(place).read_bytes() == data
    assert server.served["/big.tar"] - before <= 6 * 2**20


def test_another_version_is_fetched_anew(server, cache):
    place = f"{server.url}/a.tar"
    server.faults = ["", "", *["500"] * 8]
    with pytest.raises(OSError, match="500"):
        cache.local(place)
    server.files["/a.tar"] = bytes(reversed(server.files["/a.tar"]))
    assert cache.local(place).read_bytes() == server.files["/a.tar"]


def test_a_file_of_another_size_than_known_is_refused(server, cache):
    with pytest.raises(OSError, match=r"has 1,000,000 bytes, expected 999; was it replaced"):
        cache.local(f"{server.url}/a.tar", 999)
    near = cache.local(f"{server.url}/a.tar")
    near.write_bytes(b"cut")
    assert len(cache.local(f"{server.url}/a.tar", 1_000_000).read_bytes()) == 1_000_000


def test_the_least_recently_used_is_given_up(server, tmp_path):
    for name in "cdef":
        server.files[f"/{name}.tar"] = os.urandom(300_000)
    cache = Cache(tmp_path, 1_000_000)
    near = {name: cache.local(f"{server.url}/{name}.tar") for name in "cde"}
    for name, seconds in (("c", 30), ("d", 50), ("e", 40)):
        age(near[name], seconds)
    with near["d"].open("rb") as opened:
        cache.local(f"{server.url}/c.tar")  # used again
        cache.local(f"{server.url}/f.tar")
        assert [name for name in "cdef" if cache.holds(f"{server.url}/{name}.tar")] == ["c", "e", "f"]
        assert opened.read() == server.files["/d.tar"]
    sizes = sum(path.stat().st_size for path in (tmp_path / "files").rglob("*.tar"))
    assert sizes <= 1_000_000


def test_a_file_larger_than_the_cache_is_refused(server, tmp_path):
    with pytest.raises(OSError, match=r"1,000,000 bytes, more than the cache may hold \(500,000\); raise"):
        Cache(tmp_path, 500_000).local(f"{server.url}/a.tar")


def test_a_full_disk_is_emptied_of_what_is_old_or_named(server, cache, monkeypatch):
    old = cache.local(f"{server.url}/b.tar")
    age(old, 100)
    failures = [errno.ENOSPC, None]

    def put(self, file, data, real=Cache._put):
        class Full:
            tell, seek, flush = file.tell, file.seek, file.flush

            @staticmethod
            def write(data):
                if failures and failures.pop(0):
                    raise OSError(errno.ENOSPC, "No space left on device")
                return file.write(data)

        real(self, Full, data)

    monkeypatch.setattr(Cache, "_put", put)
    assert cache.local(f"{server.url}/a.tar").read_bytes() == server.files["/a.tar"]
    assert not old.exists()
    failures[:] = [errno.ENOSPC] * 100
    with pytest.raises(OSError, match=r"no space for .*b\.tar in .*NEXTPATCH_CACHE"):
        cache.local(f"{server.url}/b.tar")


def test_a_torn_line_costs_the_figures_of_one_fetch(server, cache, tmp_path):
    cache.local(f"{server.url}/a.tar")
    with (tmp_path / "fetched.jsonl").open("a") as file:
        file.write('{"at": 17\n')
    cache.local(f"{server.url}/b.tar")
    assert cache.fetched().bytes == 1_300_001


def test_a_file_whose_length_nobody_says(tmp_path):
    data = os.urandom(500_000)

    class Chunked(BaseHTTPRequestHandler):
        def log_message(self, *_): ...

        def do_GET(self):  # as HTTP 1.0 has it: the end of the connection is the end of the file
            self.send_response(200)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Chunked)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    place = f"http://127.0.0.1:{server.server_address[1]}/a.tar"
    assert Cache(tmp_path, 10**6).local(place).read_bytes() == data
    with pytest.raises(OSError, match=r"no stated length, and more bytes than the cache may hold \(400,000\)"):
        Cache(tmp_path / "small", 400_000).local(place)
    server.shutdown()
    server.server_close()


def test_the_default_is_told_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("NEXTPATCH_CACHE", str(tmp_path))
    monkeypatch.setenv("NEXTPATCH_CACHE_GIB", "1.5")
    assert (default_cache().root, default_cache().cap_bytes) == (tmp_path, 1.5 * 2**30)
    assert module.DEFAULT_GIB == 50
    monkeypatch.setenv("NEXTPATCH_CACHE_GIB", "lots")
    with pytest.raises(DataError, match="CACHE_GIB is 'lots', not a number"):
        default_cache()
