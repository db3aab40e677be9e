from __future__ import annotations

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from nextpatch.data.error import DataError
from nextpatch.data.storage.location import Entry, expand
from nextpatch.data.storage.sizes import MANY
from servers import FileServer


@pytest.fixture
def store():
    """memory://set/000.tar and so on, as many as are worth a listing; file i has i bytes."""
    fs = fsspec.filesystem("memory")
    for number in range(MANY):
        fs.pipe_file(f"/set/{number:03d}.tar", bytes(number))
    yield fs
    fs.rm("/set", recursive=True)


PATTERN = f"memory://set/{{000..{MANY - 1:03d}}}.tar"
ENTRIES = [Entry(f"memory://set/{number:03d}.tar", number) for number in range(MANY)]


def test_many_files_of_a_folder_are_one_listing(store, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "info", lambda *_, **__: pytest.fail("asked for each"))
        assert expand(PATTERN) == ENTRIES


def test_where_listing_is_not_allowed_each_is_asked_for(store, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError("no listing")

    monkeypatch.setattr(MemoryFileSystem, "ls", refuse)
    assert expand(PATTERN) == ENTRIES


def test_few_are_asked_for(store, monkeypatch):
    monkeypatch.setattr(MemoryFileSystem, "ls", lambda *_, **__: pytest.fail("listed"))
    assert expand("memory://set/{007,003}.tar") == [ENTRIES[7], ENTRIES[3]]


def test_one_that_a_listing_lacks_is_named(store):
    store.rm("/set/055.tar")
    with pytest.raises(DataError, match=r"memory://set/055\.tar does not exist"):
        expand(PATTERN)


def test_a_web_server_is_asked_for_each_side_by_side():
    files = {f"/{number:03d}.tar": bytes(number) for number in range(400)}
    with FileServer(files) as server:
        found = expand(f"{server.url}/{{000..399}}.tar")
        assert found == [Entry(server.url + path, len(data)) for path, data in files.items()]
        del files["/000.tar"], server.requests[:]
        with pytest.raises(DataError, match=r"000\.tar does not exist"):
            expand(f"{server.url}/{{000..399}}.tar")
        assert len(server.requests) < 400  # the rest was not waited for
