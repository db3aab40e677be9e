"""What is no index of features is refused by name, and nobody is told to remove it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from nextpatch.config import ConfigError
from nextpatch.core.files import write_json
from nextpatch.tasks.embed.index import tell_missing
from nextpatch.tasks.embed.similar import similar


@pytest.mark.parametrize("name", ["f.npy", "f.safetensors", "photo.png"])
def test_what_is_no_index_is_refused_by_name(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "f.npy", np.zeros((3, 4)))
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=rf"{name} is not an index; embed into a \.parquet file or a folder") as found:
        similar(tmp_path / "q.png", tmp_path / name, tmp_path / "out.png", 3)
    assert "remove" not in str(found.value)


@pytest.mark.parametrize(("there", "said"), [((0, 1, 2), ""), ((0, 2), "lacks 1 of 3 parts"), ((1,), "lacks 2 of 3")])
def test_parts_that_are_not_there_are_told(
    tmp_path: Path, there: tuple[int, ...], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_json(tmp_path / "plan.json", {"images": 11, "shard_images": 5})
    with caplog.at_level(logging.WARNING):
        tell_missing(tmp_path, [tmp_path / f"part-{number:06d}.parquet" for number in there])
    assert said in caplog.text if said else not caplog.text
