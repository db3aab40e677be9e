from __future__ import annotations

import fsspec
import numpy as np
import pytest

from nextpatch.data.collection import absolute, divided, open_collection, relative
from nextpatch.data.error import DataError
from nextpatch.data.sources.joined import JoinedSource
from nextpatch.data.sources.open import open_source


@pytest.fixture
def folders(tmp_path, png, noise):
    """Makes folders of so many images, `classes` in each."""

    def make(*counts, classes=()):
        for number, count in enumerate(counts):
            for i in range(count):
                file = tmp_path / f"set{number}" / (classes[i % len(classes)] if classes else "") / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(png(noise(4, 4, seed=100 * number + i)))
        return [str(tmp_path / f"set{number}") for number in range(len(counts))]

    return make


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("a=0.8", ("a", 0.8)),
        ("a", ("a", None)),
        ("https://h/x?y=b", ("https://h/x?y=b", None)),
        ("k=v/x=2", ("k=v/x", 2.0)),
        ("https://h/x.tar?download=1", ("https://h/x.tar?download=1", None)),
        ("https://h/{0..9}.tar?a=b&X-Amz-Signature=123", ("https://h/{0..9}.tar?a=b&X-Amz-Signature=123", None)),
        ("https://h/{0..9}.tar=0.5", ("https://h/{0..9}.tar", 0.5)),
        ("s3://b/sh?rd.tar=0.5", ("s3://b/sh?rd.tar", 0.5)),
        ("hub:owner/name=2", ("hub:owner/name", 2.0)),
        ("demo:train=2", ("demo:train", 2.0)),
    ],
)
def test_a_weight_stands_behind_the_last_equals_sign(spec, parts):
    assert divided(spec) == parts


@pytest.mark.parametrize("name", ["year=2024", "lr=0.1", "fold=1"])
@pytest.mark.parametrize("scheme", ["", "file://", "memory://"])
def test_what_exists_as_it_is_written_is_the_place(tmp_path, name, scheme):
    """Also beside a place without the ending, and in patterns; its weight stands behind one more sign."""
    for folder in (tmp_path / name, tmp_path / name.partition("=")[0]):
        folder.mkdir()
        (folder / "a.png").write_bytes(b"")
        if scheme == "memory://":
            fsspec.filesystem("memory").pipe(f"{folder}/a.png", b"x")
    place = f"{scheme}{tmp_path / name}"
    assert divided(place) == (place, None)
    assert divided(f"{place}=0.5") == (place, 0.5)
    assert divided(f"{place.partition('=')[0]}=7") == (place.partition("=")[0], 7)
    if not scheme:
        for pattern in (f"{tmp_path}/*{name[1:]}", f"{tmp_path}/{{no,{name[:2]}}}{name[2:]}"):
            assert divided(pattern) == (pattern, None)


def test_several_without_weights_are_one_collection(folders):
    first, second = folders(3, 2)
    source, parts, weights = open_collection([first, second])
    assert (len(source), parts, weights) == (5, (source,), (1.0,))
    assert [source.key(i).rpartition("/")[0] for i in range(5)] == [first] * 3 + [second] * 2
    assert len({source.read(i) for i in range(5)}) == 5
    assert source.shard_sizes.tolist() == [3, 2]


def test_weights_make_a_mixture(folders):
    first, second = folders(3, 2)
    source, parts, weights = open_collection([f"{first}=0.8", f"{second}=0.2"])
    assert (len(source), [len(part) for part in parts], weights) == (5, [3, 2], (0.8, 0.2))


def test_the_digest_is_of_the_samples_and_their_order(folders):
    first, second = folders(3, 2)
    digests = {open_collection(specs)[0].digest for specs in ([first], [second], [first, second], [second, first])}
    assert len(digests) == 4
    assert open_collection([first, second])[0].digest in digests


def test_shared_classes_stay_and_others_do_not(folders, tmp_path):
    same = open_collection(folders(4, 4, classes=("cat", "dog")))[0]
    assert (same.classes, same.label(1), same.label(6)) == (("cat", "dog"), 0, 1)
    (tmp_path / "plain.png").write_bytes(same.read(0))
    mixed = JoinedSource([same, open_source(str(tmp_path))])
    assert (mixed.classes, mixed.label(1)) == ((), None)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "no data given"),
        (["{0}=0.8", "{1}"], "no weight, but others have; write .*set1=WEIGHT"),
        (["{0}=0", "{1}=1"], "a weight of 0 is not valid"),
        (["{0}=nan", "{1}=1"], "a weight of nan is not valid"),
        (["{0}=1e400", "{1}=1"], "a weight of inf is not valid"),
        (["{0}=1", "{1}/no"], "no weight|does not exist"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(folders, specs, message):
    places = folders(2, 2)
    with pytest.raises(DataError, match=message):
        open_collection([spec.format(*places) for spec in specs])


def test_every_shard_is_brought_near_by_its_own_source(memory):
    sources = [memory(3), memory(2)]
    asked = []
    for number, source in enumerate(sources):
        source.shard_sizes = np.array([2, len(source) - 2])
        source.prefetch = lambda shard, number=number: asked.append((number, shard))
    joined = JoinedSource(sources)
    for shard in range(4):
        joined.prefetch(shard)
    assert asked == [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("photos", "{here}/photos"),
        ("photos=0.5", "{here}/photos=0.5"),
        ("shards/{{00..03}}.tar", "{here}/shards/{{00..03}}.tar"),
        ("/abroad/photos", "/abroad/photos"),
        ("s3://bucket/photos=0.2", "s3://bucket/photos=0.2"),
        ("hub:owner/name", "hub:owner/name"),
        ("torchvision:CIFAR10", "torchvision:CIFAR10"),
        ("demo:train=0.5", "demo:train=0.5"),
    ],
)
def test_a_local_place_is_kept_from_the_root_and_shown_from_here(tmp_path, monkeypatch, spec, expected):
    monkeypatch.chdir(tmp_path)
    spec = spec.format()
    kept = absolute(spec)
    assert kept == expected.format(here=tmp_path)
    assert relative(kept) == spec.replace("/abroad/", "")


def test_where_neither_reading_of_a_weight_is_there_both_are_named(tmp_path):
    with pytest.raises(DataError, match=r"neither .*/year=2024 exists, nor .*/year with a weight"):
        open_collection([f"{tmp_path}/year=2024"])
    (tmp_path / "year").mkdir()
    with pytest.raises(DataError, match="no images in"):
        open_collection([f"{tmp_path}/year=2024"])


def test_nothing_counts_twice_by_being_named_twice(tmp_path):
    for name in ("a/1.jpg", "a/b/2.jpg", "c/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "list.csv").write_text("path,label\na/b/2.jpg,x\n")
    a, b, c = (str(tmp_path / name) for name in ("a", "a/b", "c"))
    for again in (a, b, f"{a}/b/..", str(tmp_path / "link"), f"{a}/**", f"{b}/2.jpg", str(tmp_path / "list.csv")):
        for weights in (("", "", ""), ("=0.5", "=0.25", "=0.25")):
            with pytest.raises(DataError, match=r"[12] files of .*a once more.*name each place once"):
                open_collection([spec + weight for spec, weight in zip((a, c, again), weights, strict=True)])
    with pytest.raises(DataError, match="demo:test once more"):
        open_collection(["demo:test", "demo:test"])
    assert len(open_collection([a, c]).source) == 3
    assert len(open_collection(["demo:test", b]).source) == 5001
