"""The same images from another machine: over HTTP with a faulty network, and from an S3 bucket."""

from __future__ import annotations

import io
import tarfile
import time
from itertools import islice
from urllib import request

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nextpatch.data.config import DataConfig
from nextpatch.data.error import DataError
from nextpatch.data.loader import TrainStream
from nextpatch.data.mixture import Mixture, MixturePart
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.parquet import ParquetSource
from nextpatch.data.sources.remote_folder import RemoteFolderSource
from nextpatch.data.sources.tar import TarSource
from nextpatch.data.storage import cache, read, url
from nextpatch.data.survey import survey
from servers import FileServer

SHARDS, EACH = 4, 30


@pytest.fixture
def images(png, noise):
    """So many small PNGs in turn."""
    made = [png(noise(6, 6, seed=i)) for i in range(SHARDS * EACH)]
    return [made[n * EACH : (n + 1) * EACH] for n in range(SHARDS)]


def packed(images, first):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number, data in enumerate(images, first):
            for kind, content in (("png", data), ("cls", str(number % 3).encode())):
                member = tarfile.TarInfo(f"{number:06d}.{kind}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture(autouse=True)
def hurried(monkeypatch, tmp_path):
    monkeypatch.setenv("NEXTPATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(read, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(read, "CHUNK", 4000)
    monkeypatch.setattr(cache, "CHUNK", 4000)
    monkeypatch.setattr(url, "STALL_S", 0.5)
    for kind in ("http", "s3"):
        fsspec.get_filesystem_class(kind).clear_instance_cache()


@pytest.fixture
def server(images):
    files = {f"/set/{n:05d}.tar": packed(shard, n * EACH) for n, shard in enumerate(images)}
    with FileServer(files) as running:
        yield running


@pytest.fixture
def bucket(monkeypatch):
    """A bucket of an S3 server on loopback, as a file system; its URL is s3://photos."""
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    request.urlopen(request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    fs.mkdir("photos")
    yield fs
    running.stop()


def stream(source, workers=0, streams=2):
    order = Mixture(
        [MixturePart(source.shard_sizes, np.empty(0, np.int64), source.random_access)], 5, streams, window=1
    )
    return TrainStream(source, order, DataConfig(), (4, 4), 1, 5, workers)


def test_shards_over_http_are_the_images_and_labels(server, images):
    source = open_source(f"{server.url}/set/{{00000..00003}}.tar")
    assert isinstance(source, TarSource)
    assert not source.random_access
    assert source.shard_sizes.tolist() == [EACH] * SHARDS
    assert [source.read(i) for i in range(len(source))] == [data for shard in images for data in shard]
    assert [source.label(i) for i in range(5)] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_faulty_network_changes_nothing(server, workers, tmp_path):
    spec = f"{server.url}/set/{{00000..00003}}.tar"
    server.faults = ["", *["drop", "", "short", "", "500", "", "stall", ""] * 3]
    source = open_source(spec)
    shown = [key for batch in islice(stream(source, workers).batches(0, 10), 24) for key in batch.keys]
    for epoch in (shown[:120], shown[120:]):
        assert len(set(epoch)) == 120
    assert not server.faults or workers


def test_a_few_samples_of_many_shards_are_not_whole_shards(server):
    spec = f"{server.url}/set/{{00000..00003}}.tar"
    open_source(spec)
    server.served.clear()
    source = open_source(spec)
    seen = survey(source, limit=6)
    assert (seen.count, seen.channels, seen.median_height) == (120, 1, 6)
    whole = sum(len(data) for data in server.files.values())
    assert sum(server.served.values()) < whole / 4


def test_a_missing_shard_is_an_error(server):
    with pytest.raises(DataError, match=r"00004\.tar does not exist"):
        open_source(f"{server.url}/set/{{00000..00007}}.tar")


def test_shards_of_a_bucket_are_found_by_folder_pattern_and_braces(bucket, images):
    for number, shard in enumerate(images):
        bucket.pipe_file(f"photos/set/{number:05d}.tar", packed(shard, number * EACH))
    for spec in ("s3://photos/set", "s3://photos/set/*.tar", "s3://photos/set/{00000..00003}.tar"):
        source = open_source(spec)
        assert isinstance(source, TarSource)
        assert len(source) == 120
        keys = [key for batch in islice(stream(source, 2).batches(0, 10), 12) for key in batch.keys]
        assert len(set(keys)) == 120


def test_a_folder_of_images_in_a_bucket(bucket, images):
    for number, data in enumerate(images[0]):
        bucket.pipe_file(f"photos/pets/{'cat' if number % 2 else 'dog'}/{number:02d}.png", data)
    bucket.pipe_file("photos/pets/readme.txt", b"not an image")
    source = open_source("s3://photos/pets")
    assert isinstance(source, RemoteFolderSource)
    assert (len(source), source.classes) == (EACH, ("cat", "dog"))
    assert sorted(source.read(i) for i in range(EACH)) == sorted(images[0])
    assert {source.label(i) for i in range(EACH // 2)} == {0}
    assert next(stream(source).batches(0, 8)).images.shape == (8, 1, 4, 4)


def test_parquet_in_a_bucket(bucket, images, tmp_path):
    for number, shard in enumerate(images[:2]):
        table = pa.table({"image": [{"bytes": data, "path": None} for data in shard], "label": [1, 0] * (EACH // 2)})
        pq.write_table(table, tmp_path / "one.parquet", row_group_size=10)
        bucket.put_file(str(tmp_path / "one.parquet"), f"photos/tables/train-{number}.parquet")
    source = open_source("s3://photos/tables")
    assert isinstance(source, ParquetSource)
    assert source.shard_sizes.tolist() == [10] * 6
    assert [source.read(i) for i in range(60)] == images[0] + images[1]
    assert [source.label(i) for i in range(3)] == [1, 0, 1]
    assert len({key for batch in islice(stream(source).batches(0, 10), 6) for key in batch.keys}) == 60


def table(images, **options):
    out = io.BytesIO()
    rows = [{"bytes": data, "path": None} for data in images]
    pq.write_table(pa.table({"image": rows, "label": list(range(len(images)))}), out, row_group_size=10, **options)
    return out.getvalue()


@pytest.mark.parametrize("fault", ["drop", "stall", "short", "500"])
@pytest.mark.parametrize("ranged", [False, True])
def test_parquet_is_right_whatever_the_network_does(images, fault, ranged):
    with FileServer({"/a.parquet": table(images[0])}) as server:
        server.faults = [fault, "", fault, "", fault, fault]
        source = ParquetSource([f"{server.url}/a.parquet"])
        source.ranged = ranged
        assert [source.read(i) for i in range(EACH)] == images[0]
        assert [source.label(i) for i in range(EACH)] == list(range(EACH))
        assert not server.faults


def test_a_parquet_file_that_was_replaced_is_fetched_anew(images):
    with FileServer({"/a.parquet": table(images[0])}) as server:
        place = f"{server.url}/a.parquet"
        assert ParquetSource([place]).read(0) == images[0][0]
        server.files["/a.parquet"] = table([*images[1], *images[2]])
        assert ParquetSource([place]).read(59) == images[2][29]


def test_many_parquet_files_keep_their_order(images):
    files = {f"/{n:02d}.parquet": table(images[0][n : n + 1]) for n in range(EACH)}
    with FileServer(files) as server:
        source = ParquetSource([server.url + path for path in files])
        assert [source.read(i) for i in range(EACH)] == images[0]
        del files["/17.parquet"]
        with pytest.raises(DataError, match=r"17\.parquet is not a readable Parquet file"):
            ParquetSource([f"{server.url}/{n:02d}.parquet" for n in range(EACH)])


def test_an_empty_bucket_is_an_error(bucket):
    with pytest.raises(DataError, match="holds no files"):
        open_source("s3://photos/nothing")


def test_shards_ahead_are_fetched_before_they_are_asked_for(server, tmp_path):
    source = open_source(f"{server.url}/set/{{00000..00003}}.tar")
    places = list(server.files)
    batches = stream(source, streams=1).batches(0, 5)
    next(batches)
    deadline = time.monotonic() + 30
    while sum(source._near().holds(server.url + place) for place in places) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    batches.close()


def test_shards_named_one_after_the_other_on_a_server_without_listings(server):
    """The first makes a manifest, which names it beside the second; nothing is missing for not being listed."""
    for number in (0, 1, 0):
        assert len(open_source(f"{server.url}/set/0000{number}.tar"))
    assert len(open_source(f"{server.url}/set/0000{{0,1}}.tar?token=a/b"))


@pytest.mark.parametrize("name", ["one.png", "one.png?width=3", "x/one.PNG"])
def test_one_image_behind_a_url(images, name):
    with FileServer({"/" + name.partition("?")[0]: images[0][0]}) as server:
        source = open_source(f"{server.url}/{name}")
        assert isinstance(source, RemoteFolderSource)
        assert (len(source), source.read(0), source.key(0)) == (1, images[0][0], f"{server.url}/{name}")


@pytest.mark.parametrize(("name", "said"), [("a.zip", "on this machine only"), ("l.csv", "on this machine only")])
def test_other_files_behind_a_url_are_refused_by_name(name, said):
    with FileServer({f"/{name}": b"x"}) as server, pytest.raises(DataError, match=rf"{name}.*{said}"):
        open_source(f"{server.url}/{name}")
