from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from nextpatch.data.storage import read
from nextpatch.data.storage.read import open_stream, read_all, read_range
from servers import FileServer

FAULTS = ["drop", "stall", "short", "500", ""]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_range_is_what_was_asked_for_whatever_the_network_does(server, fault):
    server.faults = [fault, fault]
    assert read_range(f"{server.url}/a.tar", 1234, 50_000) == server.files["/a.tar"][1234:51_234]


def test_a_stream_is_the_file_whatever_the_network_does(server):
    server.faults = [each for fault in FAULTS for each in (fault, fault, "")]
    with open_stream(f"{server.url}/a.tar") as stream:
        pieces = iter(lambda: stream.read(77_777), b"")
        assert b"".join(pieces) == server.files["/a.tar"]
    assert not server.faults


@pytest.mark.parametrize("sizes", [[-1], [1, 99_999, 5, 250_000, -1], [70_000] * 15])
def test_a_stream_asks_for_chunks_however_it_is_read(server, sizes):
    with open_stream(f"{server.url}/a.tar") as stream:
        assert b"".join(map(stream.read, sizes)) == server.files["/a.tar"]
        assert stream.read() == b""
    assert [kind for kind, _ in server.requests].count("GET") == 10


def test_a_file_that_changes_on_the_way_is_an_error(server):
    stream = open_stream(f"{server.url}/a.tar")
    stream.read(300_000)
    server.files["/a.tar"] = bytes(reversed(server.files["/a.tar"]))
    with pytest.raises(OSError, match="changed while it was read"):
        stream.read()


def test_what_is_refused_is_not_asked_for_again(server):
    server.faults = ["403", ""]
    with pytest.raises(OSError, match=r"/a\.tar cannot be read: .*403.* \(tried once\)"):
        read_range(f"{server.url}/a.tar", 0, 10)
    with pytest.raises(FileNotFoundError):
        read_range(f"{server.url}/nothing.tar", 0, 10)
    assert len(server.faults) == 1


def test_patience_ends_after_so_many_attempts(server):
    server.faults = ["500"] * 100
    with pytest.raises(OSError, match=rf"tried {read.ATTEMPTS} times in [01] s"):
        read_range(f"{server.url}/b.tar", 0, 10)


def test_patience_ends_after_so_long(server, monkeypatch):
    monkeypatch.setenv("NEXTPATCH_TIMEOUT", "0.02")
    server.faults = ["500"] * 100
    with pytest.raises(OSError, match=r"tried [2-7] times"):
        read_range(f"{server.url}/b.tar", 0, 10)


def test_a_whole_file_is_read_up_to_a_limit(server, tmp_path):
    assert read_all(f"{server.url}/b.tar") == server.files["/b.tar"]
    with pytest.raises(OSError, match="300,001 bytes, more than the 1,000"):
        read_all(f"{server.url}/b.tar", 1000)
    (tmp_path / "near").write_bytes(b"here")
    assert read_all(str(tmp_path / "near")) == b"here"


def test_near_files_are_read_the_same_way(tmp_path):
    (tmp_path / "near").write_bytes(b"0123456789")
    assert read_range(f"file://{tmp_path}/near", 3, 4) == b"3456"
    with open_stream(str(tmp_path / "near")) as stream:
        assert stream.read() == b"0123456789"
    with pytest.raises(OSError, match="ends before byte 14"):
        read_range(str(tmp_path / "near"), 4, 10)


def test_an_empty_file_is_an_empty_stream():
    with FileServer({"/none": b""}) as server, open_stream(f"{server.url}/none") as stream:
        assert stream.read() == b""


def test_nobody_known_is_said_at_once():
    class NoCredentialsError(Exception):
        """As the libraries of clouds raise it."""

    tried = []

    def action():
        tried.append(1)
        raise NoCredentialsError("Unable to locate credentials")

    with pytest.raises(OSError, match=r"s3://b/x cannot be read: NoCredentialsError: Unable .* \(tried once\)"):
        read.retried("s3://b/x", action)
    assert len(tried) == 1


def test_a_server_without_ranges_is_said_so_at_once(tmp_path, monkeypatch):
    (tmp_path / "a.tar").write_bytes(bytes(1000))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    with pytest.raises(OSError, match=r"whole files only, no ranges .* \(tried once\)"):
        read_range(f"http://127.0.0.1:{server.server_address[1]}/a.tar", 10, 100)
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("kept", "attempts"),
    [
        ({"status": 401}, 1),
        ({"code": 403}, 1),
        ({"response": SimpleNamespace(status_code=403)}, 1),
        ({"code": "NoSuchKey"}, read.ATTEMPTS),
        ({"response": SimpleNamespace(status_code=503)}, read.ATTEMPTS),
        ({"status": 429}, read.ATTEMPTS),
    ],
)
def test_what_is_refused_is_known_by_each_librarys_errors(kept, attempts):
    tried = []

    def action():
        tried.append(1)
        error = Exception("no")
        vars(error).update(kept)
        raise error

    with pytest.raises(OSError, match="there cannot be read: Exception: no"):
        read.retried("there", action)
    assert len(tried) == attempts
