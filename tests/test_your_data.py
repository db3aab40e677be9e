"""Every command of the page on data is run, in order, on small data; what is elsewhere is a server on loopback."""

from __future__ import annotations

import gzip
import os
import re
import shlex
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archives import archive
from corpus import gradient, saved
from servers import FileServer

PAGE = Path(__file__).parents[1] / "docs" / "your-data.md"


def commands():
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()]


def photo(number):
    return saved(np.roll(gradient(40, 56), 3 * number, 1), "JPEG", quality=90)


@pytest.fixture
def place(tmp_path):
    """A folder with photos, shards and tables; and what torchvision would have downloaded."""
    for number in range(24):
        path = tmp_path / "photos" / f"{number % 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(number))
    (tmp_path / "photos" / "torn.jpg").write_bytes(photo(1)[:900])
    for folder in ("shards", "tables"):
        (tmp_path / folder).mkdir()
    for shard in range(3):
        files = [(f"{n:05d}.jpg", photo(n)) for n in range(8 * shard, 8 * shard + 8)]
        (tmp_path / "shards" / f"{shard:05d}.tar").write_bytes(archive(files))
    table = pa.table({"image": [{"bytes": photo(n), "path": None} for n in range(16)], "label": [0, 1] * 8})
    pq.write_table(table, tmp_path / "tables" / "train-00000.parquet")
    raw = tmp_path / "cache" / "torchvision" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train", "t10k"):
        images = struct.pack(">iiii", 2051, 9, 28, 28) + os.urandom(9 * 784)
        for kind, data in (("images-idx3", images), ("labels-idx1", struct.pack(">ii", 2049, 9) + bytes(range(9)))):
            (raw / f"{name}-{kind}-ubyte").write_bytes(data)
            with gzip.open(raw / f"{name}-{kind}-ubyte.gz", "wb") as file:
                file.write(data)
    return tmp_path


@pytest.fixture
def bucket(monkeypatch, place):
    moto = pytest.importorskip("moto.server")
    fsspec = pytest.importorskip("fsspec")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    told = {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    told |= dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"), "us-east-1")
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    fs.mkdir("my-bucket")
    for path in sorted((place / "shards").glob("*.tar")):
        fs.pipe_file(f"my-bucket/shards/{path.name}", path.read_bytes())
    yield told
    running.stop()


@pytest.mark.slow
def test_the_commands_of_the_page_do_what_it_says(place, bucket):
    files = {f"/shards/{p.name}": p.read_bytes() for p in (place / "shards").glob("*.tar")}
    tool = str(Path(sys.executable).parent / "nextpatch")
    with FileServer(files) as server:
        env = {**os.environ, **bucket, "NEXTPATCH_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
        for name, *words in commands():
            assert name == "nextpatch"
            words = [word.replace("https://example.org", server.url) for word in words]
            if any(word.startswith("hub:") for word in words):
                continue  # tests/data/sources/test_hub.py runs it against a Hub on loopback
            done = subprocess.run([tool, *words], capture_output=True, text=True, env=env, cwd=place)
            assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    for made in (
        "look/preview.png",
        "look/preview.html",
        "bad.jsonl",
        "runs/mixture/report.html",
        "runs/bucket/report.html",
    ):
        assert (place / made).stat().st_size
    assert len((place / "bad.jsonl").read_text().splitlines()) == 1
    assert '"fetched_mib_per_s"' in (place / "runs/bucket/metrics.jsonl").read_text()


def test_the_page_names_every_source_and_tool():
    text = PAGE.read_text(encoding="utf-8")
    for word in (
        "hub:",
        "torchvision:",
        "s3://",
        "gs://",
        "https://",
        ".tar",
        ".parquet",
        *["inspect", "preview", "pack", "index", "verify"],
    ):
        assert word in text
