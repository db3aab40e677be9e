"""Servers that never answer, trickle, send without end or refuse: an error in time, in bounded memory."""

from __future__ import annotations

import threading
import time
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nextpatch.data.error import DataError
from nextpatch.data.storage import bounded
from nextpatch.data.storage.cache import Cache
from nextpatch.data.storage.location import exists, expand, gone, listing
from nextpatch.data.storage.read import open_stream, read_all, read_range

PATIENCE_S = 0.4


class Difficult(BaseHTTPRequestHandler):
    """Does what the first part of the path says: to every request, or (get-...) when the body is asked for."""

    def log_message(self, *_): ...

    def do_HEAD(self):
        kind = self.path.split("/")[1]
        if kind.isdigit():
            self.send_error(int(kind))
            return
        if kind == "silent":
            self.server.ended.wait(20)
            return
        asked_for_body = self.command == "GET"
        self.send_response(200)
        if kind.startswith("get-"):
            self.send_header("Content-Length", "1000000")
        self.end_headers()
        while asked_for_body and not self.server.ended.is_set():
            if kind.endswith("silent"):
                self.server.ended.wait(20)
            elif kind.endswith("trickle"):
                self.wfile.write(b".")
                time.sleep(0.02)
            else:
                self.wfile.write(bytes(2**16))

    def do_GET(self):
        try:
            self.do_HEAD()
        except OSError:
            self.close_connection = True


@pytest.fixture
def url(monkeypatch):
    monkeypatch.setenv("NEXTPATCH_TIMEOUT", str(PATIENCE_S))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Difficult)
    server.daemon_threads, server.ended = True, threading.Event()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.ended.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("kind", ["silent", "get-silent", "get-trickle", "trickle"])
@pytest.mark.parametrize("read", [lambda url: read_range(url, 0, 10**6), read_all, lambda url: open_stream(url).read()])
def test_waiting_ends_with_the_patience(url, kind, read):
    start = time.monotonic()
    with pytest.raises(OSError, match=r"http.*/x cannot be read: .*Timeout"):
        read(f"{url}/{kind}/x")
    assert time.monotonic() - start < 4 * PATIENCE_S


@pytest.mark.parametrize("ask", [exists, expand, listing])
def test_questions_end_with_the_patience(url, ask):
    start = time.monotonic()
    with pytest.raises(OSError, match="Timeout"):
        ask(f"{url}/silent/x")
    assert time.monotonic() - start < 4 * PATIENCE_S
    assert gone([f"{url}/silent/x"]) == []


@pytest.mark.parametrize("kind", ["get-endless", "endless"])
def test_no_more_is_kept_than_was_asked_for(url, kind):
    """A body without end costs what was asked for, and is refused."""
    tracemalloc.start()
    with pytest.raises(OSError, match=r"no ranges of bytes|more than the"):
        read_range(f"{url}/{kind}/x", 0, 1000)
    if kind == "endless":
        with pytest.raises(OSError, match=r"more than the 1,000 that it may have"):
            read_all(f"{url}/{kind}/x", 1000)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 * 2**20


@pytest.mark.parametrize(("kind", "said"), [("endless", "no stated length.*100,000"), ("trickle", r"only \d+ bytes")])
def test_a_file_without_a_length_is_bounded_in_size_and_time(url, kind, said, tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "LEAST", 1000)
    start = time.monotonic()
    with pytest.raises(OSError, match=said):
        Cache(tmp_path, 10**5).local(f"{url}/{kind}/x")
    assert time.monotonic() - start < 4 * PATIENCE_S
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.part")) <= 10**5


def test_only_what_a_server_denies_is_missing(url):
    """403 is what stores say of what is not theirs to show, 500 says nothing about the file."""
    with pytest.raises(DataError, match="does not exist"):
        expand(f"{url}/404/x")
    for status, said in ((403, "403"), (500, "500")):
        with pytest.raises(OSError, match=f"cannot be read: .*{said}"):
            expand(f"{url}/{status}/x")
    with pytest.raises(OSError, match="Cannot connect"):
        expand("http://127.0.0.1:1/x")
    assert [exists(f"{url}/{status}/x") for status in (404, 403)] == [False, False]
    assert gone([f"{url}/{status}/x" for status in (404, 403, 500)]) == [f"{url}/404/x"]


@pytest.mark.parametrize("told", ["soon", "-1", "nan", "0", "inf"])
def test_a_patience_that_is_no_number_is_refused(url, told, monkeypatch):
    monkeypatch.setenv("NEXTPATCH_TIMEOUT", told)
    with pytest.raises(DataError, match=f"NEXTPATCH_TIMEOUT is '{told}'"):
        read_all(f"{url}/404/x")
