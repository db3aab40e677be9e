"""A folder with a small model in the released layout."""

from pathlib import Path

import pytest

from weights_layout import CONFIG, state_of, write_snapshot


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return write_snapshot(tmp_path / "snapshot", state_of(CONFIG), CONFIG)
