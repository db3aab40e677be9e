"""The walker finds what is there, in every format, and stays contained whatever a tar claims."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tracemalloc
import zlib
from pathlib import Path

import pytest

from archives import archive, header, images, padded, walked
from nextpatch.data.error import DataError
from nextpatch.data.tar import reader as walk_module

END = bytes(1024)
LONG = "folder/" * 30 + "é" * 60 + ".jpg"


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, 3_000_000])
def test_every_format_gives_names_places_and_checksums(kind: int, length: int) -> None:
    data = bytes(range(256)) * (length // 256) + bytes(range(length % 256))
    name = "a/b.jpg" if kind == tarfile.USTAR_FORMAT else LONG
    whole = archive([(name, data), ("c.json", b"{}"), ("é.txt", b"text")], kind)
    found, reader = walked(whole)
    assert [member.name.decode() for member in found] == [name, "c.json", "é.txt"]
    assert whole[found[0].offset : found[0].offset + found[0].size] == data
    assert found[0].crc32 == zlib.crc32(data)
    assert (found[0].content, found[1].content, found[2].content) == (b"", b"{}", b"")
    assert not reader.damage
    assert not reader.skipped


def test_a_posix_prefix_belongs_to_the_name_and_a_gnu_one_does_not() -> None:
    posix = header(b"b.jpg", 0, mark=b"ustar\x0000", more=b"a/deep/folder")
    gnu = header(b"b.jpg", 0, mark=b"ustar  \0", more=b"12345670123")
    assert [member.name for member in walked(posix + gnu + END)[0]] == [b"a/deep/folder/b.jpg", b"b.jpg"]


def test_the_oldest_format_has_no_mark_and_is_read_all_the_same() -> None:
    found, reader = walked(header(b"a.jpg", 3, b"\0", mark=b"") + padded(b"abc") + END)
    assert [(member.name, member.size) for member in found] == [(b"a.jpg", 3)]
    assert not reader.damage


def test_sizes_may_be_base_256() -> None:
    found, reader = walked(header(b"a.jpg", b"\x80" + (3).to_bytes(11, "big")) + padded(b"abc") + END)
    assert (found[0].size, reader.damage) == (3, "")


def test_a_size_in_a_pax_header_counts() -> None:
    record = b"9 size=3\n"
    data = header(b"pax", len(record), b"x") + padded(record) + header(b"a.jpg", 0) + padded(b"abc") + END
    assert walked(data)[0][0].size == 3


def test_what_is_no_regular_file_is_passed_over_and_counted() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
        for number, kind in enumerate(kinds):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    extended = header(b"sparse.jpg", 512, b"S", b"ustar  \0", bytes(137) + b"\1") + bytes(504) + b"\1" + bytes(519)
    pax = b"22 GNU.sparse.major=1\n"
    data = stream.getvalue().rstrip(b"\0")
    data = padded(data) + extended + padded(b"data") + header(b"p", len(pax), b"x") + padded(pax)
    data += header(b"sparse.jpg", 4) + padded(b"data") + header(b"odd.jpg", 4, b"Q") + padded(b"data")
    found, reader = walked(data + header(b"a.jpg", 2) + padded(b"ok") + END)
    assert [member.name for member in found] == [b"a.jpg"]
    assert reader.skipped == {
        "link": 2, "device": 2, "pipe": 1, "folder": 1, "sparse file": 2, "member of an unknown kind": 1
    }  # fmt: skip
    assert not reader.damage


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "size",
    [b"%011o\0" % 2**32, b"\x80" + (2**40).to_bytes(11, "big"), b"\xff" * 12, b"\xff" + bytes(11), b"12345678 9ab"],
)
def test_a_size_that_cannot_be_is_damage_and_what_follows_is_found(size: bytes, known: bool) -> None:
    rest = archive(images(2))
    data = header(b"huge.jpg", size) + padded(b"x" * 600) + rest
    tracemalloc.start()
    found, reader = walked(data, len(data) if known else None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reader.damage.startswith("byte 0: ")
    assert peak < 8 * 2**20
    negative = size[0] == 0xFF or size[0] == ord("1")
    assert len(found) == (6 if known or negative else 0)  # a stream without a length has gone by when it is too short


@pytest.mark.parametrize(
    "name", [b"../../up.jpg", b"/etc/up.jpg", b"..", b"a/../../b.jpg", b"\xff\xfe.jpg", b"a\nb.jpg"]
)
def test_names_are_only_names(name: bytes, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found, reader = walked(header(name, 2) + padded(b"ok") + END)
    assert [member.name for member in found] == [name]
    assert not reader.damage
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"\x1f\x8b\x08", "gzip"), (b"BZh9", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd")],
)
def test_compressed_archives_are_refused_with_the_remedy(start: bytes, kind: str) -> None:
    with pytest.raises(DataError, match=rf"x\.tar is compressed \({kind}\).*uncompress"):
        walked(start.ljust(2048, b"x"))


def test_endless_extensions_end_and_stay_small() -> None:
    long = header(b"long", 2**20, b"L") + b"n" * 2**20
    pax = header(b"pax", 2**21, b"x") + b"1" * 2**21
    data = long * 8 + pax * 4 + header(b"a.jpg", 2) + padded(b"ok") + header(b"b.jpg", 2) + padded(b"ok") + END
    tracemalloc.start()
    found, reader = walked(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [member.name for member in found] == [b"b.jpg"]
    assert "a header of 2097152 bytes; the member behind it is left out" in reader.damage
    assert peak < 12 * 2**20


def test_a_name_that_is_too_long_is_left_out() -> None:
    data = header(b"long", 5000, b"L") + padded(b"n" * 5000) + header(b"a.jpg", 2) + padded(b"ok") + END
    found, reader = walked(data)
    assert not found
    assert reader.skipped == {"file with a name of more than 4096 bytes": 1}


@pytest.mark.parametrize(
    "record", [b"5 a=b", b"6 a=b", b"0 a=b\n", b"x path=a\n", b"99 path=a\n", b"7 patha\n", b"10 size=-3\n"]
)
def test_a_malformed_pax_header_costs_the_member_behind_it(record: bytes) -> None:
    data = header(b"pax", len(record), b"x") + padded(record) + header(b"a.jpg", 2) + padded(b"ok")
    found, reader = walked(data + header(b"b.jpg", 2) + padded(b"ok") + END)
    assert [member.name for member in found] == [b"b.jpg"]
    assert "the member behind it is left out" in reader.damage


def test_too_many_members_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk_module, "MAX_MEMBERS", 5)
    with pytest.raises(DataError, match=r"x\.tar has more than 5 members; split it"):
        walked(archive(images(2)))


@pytest.mark.slow
def test_a_million_members_take_little_memory(tmp_path: Path) -> None:
    """Each a sample with a key of its own; by a process without the tests' type checks."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom nextpatch.data.tar.build import index_shard\n"
        "from nextpatch.data.storage.location import Entry\n"
        "def peak_mib():\n"
        "    return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) // 1024\n"
        "before = peak_mib()\nshard, index = index_shard(Entry(sys.argv[1], None), 'x')\n"
        "print(shard.samples, len(index), peak_mib() - before, shard.damage)\n"
    )
    with (tmp_path / "x.tar").open("wb") as stream:
        for number in range(1_000_000):
            stream.write(header(b"%07d.jpg" % number, 0))
        stream.write(END)
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.tar"], capture_output=True, text=True, check=True)
    samples, nbytes, mib = map(int, done.stdout.split())
    assert samples == 1_000_000
    assert nbytes < 24 * samples
    assert mib < 250
    print(f"{mib} MiB for a million members")


def test_archives_joined_end_to_end_and_zeroed_blocks_are_noted_and_read_through() -> None:
    whole = archive(images(2))
    found, reader = walked(whole + whole)
    assert len(found) == 12
    assert "members follow an end mark" in reader.damage


def test_what_is_no_tar_gives_nothing_and_says_so() -> None:
    for data in (b"", b"<!DOCTYPE html>" * 100, bytes(512), b"x" * 100):
        found, reader = walked(data)
        assert not found
        assert reader.damage


def test_many_faults_are_counted_not_listed() -> None:
    data = b"".join(header(b"a.jpg", 0) + b"x" * 512 for _ in range(100)) + END
    found, reader = walked(data)
    assert len(found) == 100
    assert reader.damage.endswith("; and 97 more")
    assert len(reader.damage) < 300
