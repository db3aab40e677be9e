from __future__ import annotations

import os

import pytest

from nextpatch.data.storage.ranges import open_ranges


@pytest.mark.parametrize("remote", [True, False])
def test_any_part_can_be_read_as_of_a_file(server, tmp_path, remote):
    data = server.files["/b.tar"]
    (tmp_path / "b.tar").write_bytes(data)
    server.faults = ["drop", "", "500", "short"]
    with open_ranges(f"{server.url}/b.tar" if remote else str(tmp_path / "b.tar")) as file:
        assert (file.seek(-8, os.SEEK_END), file.read(20), file.read(1)) == (len(data) - 8, data[-8:], b"")
        assert (file.seek(1000), file.read(50), file.tell()) == (1000, data[1000:1050], 1050)
        assert (file.seek(-10, os.SEEK_CUR), file.read()) == (1040, data[1040:])
        assert (file.seek(len(data) + 5), file.read(1), file.read()) == (len(data) + 5, b"", b"")


def test_only_what_is_asked_for_travels(server):
    with open_ranges(f"{server.url}/a.tar") as file:
        file.seek(500_000)
        file.read(1000)
    assert server.served["/a.tar"] == 1000


def test_what_is_not_there_is_said_so(server):
    with pytest.raises(FileNotFoundError):
        open_ranges(f"{server.url}/none.tar")
