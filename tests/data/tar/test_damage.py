"""No damage passes unseen: each cut, and a flipped bit in each block, of a small shard."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archives import archive, grouped, images, padded, walked
from nextpatch.data.error import DataError
from nextpatch.data.sources.tar import TarSource
from nextpatch.data.storage.location import Entry
from nextpatch.data.tar.build import index_shards
from nextpatch.data.tar.samples import Sample
from nextpatch.data.tar.verify import verify

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def shard(kind: int, count: int = 4) -> bytes:
    """A shard; with names that need extensions in all but the first format."""
    files = images(count)
    if kind != tarfile.USTAR_FORMAT:
        files = [("é" * 70 + name, data) for name, data in files]
    return archive(files, kind)


def flips(data: bytes) -> Iterator[bytes]:
    """A copy of the shard for each of its blocks, with one bit of it flipped; never the same bit."""
    for number, start in enumerate(range(0, len(data), 512)):
        flipped = bytearray(data)
        flipped[start + number * 37 % 512] ^= 1 << number % 8
        yield bytes(flipped)


def cuts(data: bytes) -> Iterator[bytes]:
    for end in range(0, len(data), 512):
        yield data[:end]


def theirs(data: bytes) -> bool:
    """Whether Python's tarfile notices anything."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r|*") as tar:
            for member in tar:
                content = tar.extractfile(member)
                if content is not None and len(content.read()) < member.size:
                    return True
        return False
    except tarfile.TarError:
        return True


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    path = tmp_path / "0.tar"
    path.write_bytes(shard(tarfile.PAX_FORMAT))
    index_shards([Entry(str(path), path.stat().st_size)])
    return path


def opened(path: Path) -> TarSource:
    return TarSource([Entry(str(path), path.stat().st_size)])


def test_with_an_index_every_cut_is_refused_with_what_is_usable(indexed: Path) -> None:
    whole = indexed.read_bytes()
    records, _ = grouped(whole)
    found = noticed = total = 0
    for data in cuts(whole):
        total += 1
        noticed += theirs(data)
        indexed.write_bytes(data)
        left = sum(sample.offset + sample.size <= len(data) for sample in records)
        with pytest.raises(DataError, match=rf"0\.tar has {len(data)} bytes .*of its 4 samples {left} are usable"):
            opened(indexed)
        found += bool(verify([Entry(str(indexed), len(data))], workers=1))
    assert found == total
    print(f"cuts: {found} of {total} found; tarfile notices {noticed}")


def test_with_an_index_every_flipped_bit_is_found_and_never_read(indexed: Path) -> None:
    whole = indexed.read_bytes()
    source = opened(indexed)
    right = [source.read(i) for i in range(len(source))]
    found = noticed = total = refused = 0
    for data in flips(whole):
        total += 1
        noticed += theirs(data)
        indexed.write_bytes(data)
        problems = verify([Entry(str(indexed), len(data))], workers=1)
        found += len(problems) == 1
        source = opened(indexed)
        bad = []
        for i in range(len(source)):
            try:
                assert source.read(i) == right[i]
            except OSError:
                bad.append(source.key(i).partition("#")[2])
        refused += len(bad)
        assert list(problems[0].keys) == bad
    assert found == total
    assert refused >= 4  # every image has blocks of its own
    print(f"flips: {found} of {total} found; tarfile notices {noticed}")


@pytest.mark.parametrize("kind", FORMATS)
def test_without_an_index_every_cut_is_found_and_what_is_whole_is_kept(kind: int) -> None:
    whole = shard(kind)
    right, _ = grouped(whole)
    end = len(whole.rstrip(b"\0")) + 511 & -512  # behind it lie zeros only
    for data in cuts(whole):
        found, reader = grouped(data)
        assert bool(reader.damage) == (len(data) < end + 1024)
        left = [sample for sample in right if sample.offset + sample.size <= len(data)]
        assert [sample[:4] for sample in found] == [sample[:4] for sample in left]


@pytest.mark.parametrize("kind", FORMATS)
def test_without_an_index_a_flip_in_a_header_costs_at_most_one_sample(kind: int) -> None:
    whole = shard(kind)
    right, _ = grouped(whole)
    for member in walked(whole)[0]:
        for bit in range(member.start // 512 % 8, 4096, 137):
            flipped = bytearray(whole)
            flipped[member.start + bit // 8] ^= 1 << bit % 8
            found, reader = grouped(bytes(flipped))
            if not reader.damage:  # a blank of the checksum's own field, which says the same
                assert 148 <= bit // 8 < 156
                assert found == right
            kept = {(sample.offset, sample.size, sample.crc32) for sample in found}
            assert kept <= {(sample.offset, sample.size, sample.crc32) for sample in right}
            assert len(kept) >= len(right) - 1


def test_flips_behind_the_end_mark_are_found_too() -> None:
    whole = shard(tarfile.USTAR_FORMAT)
    end = len(whole.rstrip(b"\0")) + 511 & -512
    for place in range(end, len(whole), 256):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        found, reader = grouped(bytes(flipped))
        assert reader.damage
        assert len(found) == 4


def test_a_zeroed_piece_is_found_and_what_follows_is_kept() -> None:
    whole = shard(tarfile.USTAR_FORMAT, 20)
    right, _ = grouped(whole)
    data = whole[:8192] + bytes(4096) + whole[12288:]
    found, reader = grouped(data)
    assert reader.damage
    assert found[-10:] == right[-10:]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """(a shard, the same with pieces overwritten, cut out, doubled or inserted)."""
    whole = shard(draw(st.sampled_from(FORMATS)), 3)
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        piece = draw(st.binary(max_size=700) | st.just(bytes(512)) | st.just(whole[:1024]))
        if draw(st.booleans()):
            data[at : at + len(piece)] = piece
        else:
            data[at : at + draw(st.integers(0, 2048))] = piece
    return whole, bytes(data)


@settings(max_examples=100, deadline=None)
@given(damaged())
def test_fuzz_samples_are_what_was_written_or_damage_is_recorded(pair: tuple[bytes, bytes]) -> None:
    whole, data = pair
    right, _ = grouped(whole)
    try:
        found, reader = grouped(data)
    except DataError:  # keys doubled, or a start that looks compressed
        return
    for sample in found:
        assert 0 <= sample.offset <= sample.offset + sample.size <= len(data)
    if not reader.damage and not reader.skipped and _headers(whole) == _headers(data):
        assert [sample.key for sample in found] == [sample.key for sample in right]
        assert [sample.size for sample in found] == [sample.size for sample in right]


def _headers(data: bytes) -> list[bytes]:
    """Names and sizes as they stand there; what changed them unseen had to write valid headers."""
    return [member.name for member in walked(data)[0]]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=4096), st.booleans())
def test_fuzz_no_bytes_raise_anything_but_a_data_error(data: bytes, before: bool) -> None:
    try:
        found, reader = grouped(padded(data) + archive(images(1)) if before else data)
    except DataError:
        return
    assert reader.hashed.position <= len(padded(data)) + 20480
    assert all(isinstance(sample, Sample) for sample in found)
    assert before or reader.damage or not found
