"""Data sets of the Hub, against a server on loopback that answers as the Hub does."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nextpatch.data.error import DataError
from nextpatch.data.sources import hub
from nextpatch.data.storage.location import Entry

COMMIT = "a" * 40


def parquet(images):
    out = io.BytesIO()
    pq.write_table(pa.table({"image": [{"bytes": data, "path": None} for data in images], "label": [0, 1] * 3}), out)
    return out.getvalue()


@pytest.fixture
def endpoint(png, noise):
    """A Hub with one data set, me/pets, of two splits; its URL."""
    images = [png(noise(5, 5, seed=i)) for i in range(12)]
    files = {
        "data/train-00000-of-00002.parquet": parquet(images[:6]),
        "data/train-00001-of-00002.parquet": parquet(images[6:]),
        "data/test-00000-of-00001.parquet": parquet(images[:6]),
        "README.md": b"# pets",
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(files))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def handler(files):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_): ...

        def do_HEAD(self):
            self.answer()

        def do_POST(self):
            length = int(self.headers.get("Content-Length", 0))
            asked = json.loads(self.rfile.read(length) or b"{}").get("paths", [])
            self.send(200, json.dumps([entry(name) for name in files if name in asked]).encode())

        def do_GET(self):
            self.answer()

        def answer(self):
            path = self.path.partition("?")[0]
            if path.startswith("/datasets/me/pets/resolve/"):
                self.give(files.get(path.split("/", 6)[6]))
            elif path.startswith("/api/datasets/me/pets/tree/"):
                self.send(200, json.dumps([entry(name) for name in files]).encode())
            elif path.startswith("/api/datasets/me/pets"):
                siblings = [{"rfilename": name} for name in files]
                info = {"id": "me/pets", "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
                self.send(200, json.dumps(info).encode())
            else:
                self.send(404, b"{}", **{"X-Error-Code": "RepoNotFound"})

        def give(self, data):
            if data is None:
                self.send(404, b"", **{"X-Error-Code": "EntryNotFound"})
                return
            start, end, asked = 0, len(data), self.headers.get("Range")
            if asked:
                first, _, last = asked.removeprefix("bytes=").partition("-")
                start, end = int(first), min(len(data), int(last) + 1 if last else len(data))
            self.send(
                206 if asked else 200, data[start:end], ETag=f'"{len(data)}"', **{"X-Repo-Commit": COMMIT},
                **({"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"} if asked else {}),
            )  # fmt: skip

        def send(self, status, body, **headers):
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def entry(name):
        return {"type": "file", "path": name, "size": len(files[name]), "oid": "0" * 40}

    return Handler


SCRIPT = """
import sys
from nextpatch.data.sources.open import open_source
source = open_source(sys.argv[1])
print(type(source).__name__, len(source), len({source.read(i) for i in range(len(source))}), source.label(1))
"""


def opened(endpoint, spec, tmp_path):
    """What a fresh process makes of a spec: the Hub's address is read when its library is imported."""
    told = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "NEXTPATCH_CACHE": str(tmp_path / "cache")}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, spec],
        capture_output=True,
        text=True,
        env={**told, "PATH": "", "HOME": str(tmp_path)},
    )


def test_a_split_of_a_data_set_is_its_files(endpoint, tmp_path):
    done = opened(endpoint, "hub:me/pets:train", tmp_path)
    assert done.stdout.split() == ["ParquetSource", "12", "12", "1"], done.stderr[-2000:]


def test_several_splits_must_be_chosen_from(endpoint, tmp_path):
    done = opened(endpoint, "hub:me/pets", tmp_path)
    assert "holds several splits; name one: hub:me/pets:test, hub:me/pets:train" in done.stderr


def files(*names):
    return [Entry(f"hf://datasets/me/pets/{name}", 1) for name in names]


@pytest.mark.parametrize(
    ("names", "split", "chosen"),
    [
        (["data/train-00000-of-00001.parquet"], None, 1),
        (["full/train/0000.parquet", "full/train/0001.parquet", "full/test/0000.parquet"], "full/train", 2),
        (["set-train-0001.tar", "set-train-0002.tar", "set-validation-0001.tar"], "set-train", 2),
        (["train.parquet", "test.parquet"], "test", 1),
        (["a/train.parquet", "shards/0000.tar"], "a/train", 1),
    ],
)
def test_splits_are_found_in_names(monkeypatch, names, split, chosen):
    monkeypatch.setattr(hub, "listing", lambda root: files(*names))
    spec = f"hub:me/pets:{split}" if split else "hub:me/pets"
    assert len(hub.hub_entries(spec)) == chosen


def test_what_the_hub_converted_is_taken_when_there_is_nothing_else(monkeypatch):
    monkeypatch.setattr(
        hub, "listing", lambda root: files("default/train/0000.parquet" if "convert" in root else "images.zip")
    )
    assert len(hub.hub_entries("hub:me/pets")) == 1


@pytest.mark.parametrize("spec", ["hub:pets", "hub:me/pets/train", "hub:../../etc:x"])
def test_what_is_no_name_is_refused(spec):
    with pytest.raises(DataError, match="write hub:OWNER/NAME"):
        hub.hub_entries(spec)
