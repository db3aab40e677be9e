"""The manifest: compact, the same wherever its folder lies, and never half read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from nextpatch.data.error import DataError
from nextpatch.data.tar.index import Shard
from nextpatch.data.tar.manifest import Manifest, joined, parse_manifest, read_manifest


def shard(name: str, samples: int = 10, damage: str = "") -> Shard:
    return Shard(name, samples, 512 * samples, hashlib.sha256(name.encode()).hexdigest(), samples % 7, damage)


def same(a: Manifest, b: Manifest) -> bool:
    return [a.shard(i) for i in range(len(a))] == [b.shard(i) for i in range(len(b))] and a.classes == b.classes


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    manifest = Manifest.of([shard("a.tar"), shard("b/é.tar", 0, "byte 7: cut"), shard("c.tar", 3)], ["cat", "chien é"])
    manifest.write(tmp_path / "m.json")
    found = read_manifest(tmp_path / "m.json")
    assert found is not None
    assert same(found, manifest)
    assert found.digest == manifest.digest
    assert found.damage == {1: "byte 7: cut"}
    assert read_manifest(tmp_path / "none.json") is None
    assert same(parse_manifest((tmp_path / "m.json").read_bytes(), "x"), manifest)


def test_an_empty_one_is_one(tmp_path: Path) -> None:
    Manifest.of([]).write(tmp_path / "m.json")
    found = read_manifest(tmp_path / "m.json")
    assert found is not None
    assert len(found) == 0


def test_the_digest_follows_whatever_the_order_of_samples_depends_on() -> None:
    rows = [shard("a.tar"), shard("b.tar")]
    digest = Manifest.of(rows).digest
    assert Manifest.of(rows, ["cat"]).digest == digest
    others = [rows[::-1], rows[:1], [rows[0], shard("c.tar")], [rows[0], shard("b.tar", 11)]]
    assert len({Manifest.of(other).digest for other in others} | {digest}) == 5


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    Manifest.of([shard("a.tar"), shard("b.tar")]).write(tmp_path / "m.json")
    data = (tmp_path / "m.json").read_bytes()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        with pytest.raises(DataError, match=r"m\.json"):
            parse_manifest(bytes(flipped), "m.json")
    for length in range(len(data)):
        with pytest.raises(DataError, match="remove it"):
            parse_manifest(data[:length], "m.json")


@pytest.mark.parametrize(
    "rows",
    [
        '["a", -1, 0, "%s", 0, ""]',
        '["a", 1, 1e400, "%s", 0, ""]',
        '["a", 1, 1, "zz", 0, ""]',
        '["a", 1, 1, "", 0, ""]',
        '["a", 1, 1, "%s", 9999999, ""]',
        '["a", 99999999999999999999, 1, "%s", 0, ""]',
        '["a", 1, 1, "%s", 0, ""], ["a", 1, 1, "%s", 0, ""]',
        '["a"]',
        "7",
    ],
)
def test_a_forged_one_is_refused(rows: str) -> None:
    rest = ('"classes": [],\n"shards": [' + rows.replace("%s", "00" * 32) + "]}").encode()
    first = f'{{"format": "nextpatch tar manifest 3", "sha256": "{hashlib.sha256(rest).hexdigest()}",\n'.encode()
    with pytest.raises(DataError, match=r"m\.json"):
        parse_manifest(first + rest, "m.json")


def test_rows_are_picked_by_name_in_any_order() -> None:
    manifest = Manifest.of([shard("a"), shard("b", 0, "cut"), shard("c", 3)])
    assert same(manifest.picked(["c", "b"]), Manifest.of([shard("c", 3), shard("b", 0, "cut")]))
    with pytest.raises(KeyError):
        manifest.picked(["d"])


def test_of_two_the_first_holds() -> None:
    whole = joined([Manifest.of([shard("b", 5)]), Manifest.of([shard("c"), shard("b", 4), shard("a")], ["cat"])])
    assert same(whole, Manifest.of([shard("a"), shard("b", 5), shard("c")], ["cat"]))
