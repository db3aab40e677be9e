"""Small weights with a classifier."""

from pathlib import Path

import pytest

from weights_layout import CONFIG, state_of, write_snapshot


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_snapshot(tmp_path / "weights", state_of(CONFIG), CONFIG)
