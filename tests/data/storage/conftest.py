from __future__ import annotations

import fsspec
import numpy as np
import pytest

from nextpatch.data.storage import cache, read, url
from servers import FileServer


@pytest.fixture
def server():
    """Serves /a.tar and /b.tar, of 1 MB and 0.3 MB of noise."""
    rng = np.random.default_rng(0)
    with FileServer({"/a.tar": rng.bytes(1_000_000), "/b.tar": rng.bytes(300_001)}) as running:
        yield running


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """Small chunks, short pauses and short patience; no connection is left from another test."""
    monkeypatch.setattr(read, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(read, "CHUNK", 100_000)
    monkeypatch.setattr(cache, "CHUNK", 100_000)
    monkeypatch.setattr(url, "STALL_S", 0.5)
    for kind in ("http", "s3"):
        fsspec.get_filesystem_class(kind).clear_instance_cache()
