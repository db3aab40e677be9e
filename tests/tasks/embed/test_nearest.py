"""Nearest rows: the same in any pieces, better where a few directions would decide alone, standardized where few."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from nextpatch.config import ConfigError
from nextpatch.tasks.embed import index as indices
from nextpatch.tasks.embed import nearest as searching
from nextpatch.tasks.embed.config import Pool, SpaceName
from nextpatch.tasks.embed.index import read_index
from nextpatch.tasks.embed.nearest import LEAST_ROWS, NearestRows, Pieces, nearest, space_for, space_of, spread
from nextpatch.tasks.embed.shard import write_table
from nextpatch.weights import whitening
from nextpatch.weights.whitening import standardized

FACTS: dict[str, Any] = {"kind": "vector", "dim": 6, "pool": "mean", "layers": ["block_1"], "weights_sha256": "a"}


def found_in(pieces: Pieces, query: torch.Tensor, count: int, top: int, space: SpaceName = "auto") -> NearestRows:
    return nearest(query, pieces, top, space_of(pieces, count, space))


def write(path: Path, rows: np.ndarray, **facts: Any) -> None:
    values = pa.FixedSizeListArray.from_arrays(pa.array(rows.astype(np.float16).reshape(-1)), rows.shape[1])
    table = pa.table({"path": [f"{path.stem}/{row}.png" for row in range(len(rows))], "features": values})
    write_table(path, [table], FACTS | facts, {}, {})


@pytest.mark.parametrize("space", ["whitened", "standardized"])
@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_neighbors_do_not_depend_on_how_rows_are_divided(space: SpaceName, rows: int) -> None:
    features, query = torch.randn(300, 12), torch.randn(12)
    whole = found_in(lambda: [features], query, 300, 9, space)
    parts = found_in(partial(torch.split, features, rows), query, 300, 9, space)
    assert (parts.rows, parts.space) == (whole.rows, space)
    assert parts.cosines == pytest.approx(whole.cosines, abs=1e-5)
    assert sorted(whole.cosines, reverse=True) == list(whole.cosines)


def test_standardized_neighbors_are_the_largest_cosines_of_standardized_rows() -> None:
    features, query = torch.randn(50, 8) * torch.arange(1, 9) + 3, torch.randn(8)
    space = standardized(features)
    wanted = (space(features) @ space(query)).argsort(descending=True)[:5]
    assert list(found_in(lambda: [features], query, 50, 5).rows) == wanted.tolist()
    assert len(found_in(lambda: [features], query, 50, 99).rows) == 50


def test_many_channels_that_say_the_same_do_not_decide_alone_where_whitened() -> None:
    rng = torch.Generator().manual_seed(0)
    classes = torch.arange(400) % 2
    lighting = torch.randn(400, 5, generator=rng)
    same = lighting.repeat(1, 15) + 0.01 * torch.randn(400, 75, generator=rng)  # five things, each in fifteen channels
    features = torch.cat([same, classes[:, None] - 0.5 + 0.1 * torch.randn(400, 1, generator=rng)], dim=1)
    right = dict[SpaceName, float]()
    for space in ("whitened", "standardized"):
        found = [found_in(lambda: [features], features[row], 400, 20, space).rows for row in range(10)]
        hits = [int(classes[at]) == row % 2 for row, rows in enumerate(found) for at in rows]
        right[space] = sum(hits) / len(hits)
    assert right["whitened"] > right["standardized"] + 0.1, right


@pytest.mark.parametrize(
    ("asked", "count", "pool", "wanted"),
    [
        ("auto", LEAST_ROWS, "mean", "whitened"), ("auto", LEAST_ROWS - 1, "mean", "standardized"),
        ("auto", 10**6, "attention", "standardized"), ("whitened", 3, "attention", "whitened"),
        ("standardized", 10**6, "mean", "standardized"),
    ],
)  # fmt: skip
def test_few_rows_and_pooled_attention_are_only_standardized(
    asked: SpaceName, count: int, pool: Pool, wanted: str
) -> None:
    assert space_for(asked, count, pool) == wanted


@pytest.mark.parametrize("rows", [1, 4, 50])
def test_a_space_is_fitted_to_rows_of_the_whole_index(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "_FITTED_ROWS", 10)
    kept = spread(torch.arange(43.0)[:, None].split(rows), 43)
    assert kept[:, 0].tolist() == [0, 5, 10, 15, 20, 25, 30, 35, 40]
    assert searching._FITTED_VALUES // 4096 >= 2048  # as many as principal directions are found of


def test_directions_of_long_vectors_are_those_of_the_whole_index(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (searching, whitening):
        monkeypatch.setattr(module, "MOST", 4)
    features = torch.zeros(16, 6)
    features[:8, :2], features[8:, 4:] = torch.randn(8, 2), torch.randn(8, 2)
    _, space = space_of(lambda: [features], 16, "whitened")
    assert space.directions is not None
    assert int(torch.linalg.matrix_rank(space.directions[4:], rtol=1e-3)) == 2  # in the first rows these do not vary


def test_an_index_is_read_some_rows_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indices, "ROWS", 4)
    values = np.random.default_rng(0).normal(size=(13, 6))
    for number, rows in enumerate(np.split(values, [9])):
        write(tmp_path / f"part-{number:06d}.parquet", rows)
    opened = read_index(tmp_path)
    pieces = list(opened.pieces())
    assert [len(piece) for piece in pieces] == [4, 4, 1, 4]
    assert len(opened.names) == 13
    np.testing.assert_allclose(torch.cat(pieces).numpy(), values, atol=1e-2)


@pytest.mark.parametrize(
    "other", [{"pool": "regions", "regions": 3}, {"weights_sha256": "b"}, {"layers": ["block_0"]}], ids=str
)
def test_files_that_were_made_in_different_ways_are_refused(other: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path / "part-000000.parquet", np.ones((2, 6)))
    write(tmp_path / "part-000001.parquet", np.ones((2, 6)), **other)
    with pytest.raises(
        ConfigError, match=f"part-000001.parquet was made with other {'.*'.join(other)} than part-000000"
    ):
        read_index(tmp_path)


def test_vectors_of_another_length_are_refused() -> None:
    with pytest.raises(ConfigError, match="vectors of 12 values, and its weights give 4"):
        found_in(lambda: [torch.randn(5, 12)], torch.randn(4), 5, 3)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "f.parquet", np.array([[1.0, math.inf], [2.0, 3.0]]))
    with pytest.raises(ConfigError, match="not finite"):
        list(read_index(tmp_path / "f.parquet").pieces())
