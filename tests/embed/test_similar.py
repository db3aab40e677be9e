"""What is no index of features is refused by name, and nobody is told to remove it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nextpatch.config import ConfigError
from nextpatch.embed.similar import similar


@pytest.mark.parametrize("name", ["f.npy", "f.safetensors", "photo.png"])
def test_what_is_no_index_is_refused_by_name(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "f.npy", np.zeros((3, 4)))
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=rf"{name} is no index; embed into a \.parquet file or a folder") as found:
        similar(tmp_path / "q.png", tmp_path / name, tmp_path / "out.png", 3)
    assert "remove" not in str(found.value)
