"""Finished shards as one file: Parquet, npy or safetensors, each written in one pass and put in place in one step."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Float16
from safetensors.torch import save_file

from nextpatch.core.errors import UserError
from nextpatch.embed.shard import META
from nextpatch.train.checkpoint import sync

_BESIDE = ("path", "height", "width")


def combine(shards: Sequence[Path], out: Path) -> None:
    """The rows of all shards, in order, as `out`: its ending says the format.

    .npy holds the features alone and .safetensors a tensor for each column; the other columns of both lie beside them
    as OUT.rows.parquet, row by row.
    """
    write: Callable[[Sequence[Path], Path], None] = {
        ".parquet": _parquet, ".npy": _npy, ".safetensors": _safetensors
    }[out.suffix]  # fmt: skip
    filled = [shard for shard in shards if pq.read_metadata(shard).num_rows]
    aside = out.with_name(f".unfinished.{out.name}")
    write(filled, aside)
    sync(aside)
    if out.suffix != ".parquet":
        rows = out.with_suffix(".rows.parquet")
        unfinished = rows.with_name(f".unfinished.{rows.name}")
        _parquet(filled, unfinished, list(_BESIDE))
        unfinished.replace(rows)
    aside.replace(out)


def facts_of(path: Path) -> dict[str, Any]:
    """What a Parquet file of features says about how they were made."""
    found: dict[str, Any] = json.loads((pq.read_schema(path).metadata or {}).get(META, b"{}"))
    return found


def feature_columns(path: Path) -> list[str]:
    """The columns that hold features."""
    return [name for name in pq.read_schema(path).names if name not in _BESIDE]


def _parquet(shards: Sequence[Path], out: Path, columns: list[str] | None = None) -> None:
    first = pq.read_schema(shards[0]) if columns is None else pq.read_table(shards[0], columns=columns).schema
    kept = {META: (pq.read_schema(shards[0]).metadata or {})[META]}
    with pq.ParquetWriter(out, first.with_metadata(kept), compression="zstd") as writer:
        for shard in shards:
            file = pq.ParquetFile(shard)
            for group in range(file.num_row_groups):
                writer.write_table(file.read_row_group(group, columns).replace_schema_metadata(kept))


def arrays(shards: Sequence[Path], column: str) -> Iterator[Float16[np.ndarray, "rows ..."]]:
    """The features of one column, shard by shard."""
    facts = facts_of(shards[0])
    for shard in shards:
        for batch in pq.ParquetFile(shard).iter_batches(columns=[column]):
            values = batch.column(0)
            flat: np.ndarray = values.flatten().to_numpy(zero_copy_only=False).astype(np.float16, copy=False)
            shape = (len(values), -1, facts["dim"]) if facts["kind"] == "patches" else (len(values), -1)
            yield flat.reshape(shape)


def _npy(shards: Sequence[Path], out: Path) -> None:
    columns = feature_columns(shards[0])
    if len(columns) > 1:
        raise UserError(f".npy holds one array, and there are {len(columns)} columns; use .parquet or .safetensors")
    _whole(shards, columns[0], out).flush()


def _safetensors(shards: Sequence[Path], out: Path) -> None:
    columns, drafts = feature_columns(shards[0]), []
    tensors = {}
    for column in columns:
        draft = out.with_name(f"{out.name}.{column}.npy")
        drafts.append(draft)
        tensors[column] = torch.from_numpy(_whole(shards, column, draft))
    save_file(tensors, out, {"nextpatch": json.dumps(facts_of(shards[0]))})
    for draft in drafts:
        draft.unlink()


def _whole(shards: Sequence[Path], column: str, out: Path) -> np.memmap[Any, np.dtype[np.float16]]:
    """All rows of a column in a file of numpy's, mapped: never whole in memory."""
    rows = sum(pq.read_metadata(shard).num_rows for shard in shards)
    shape = next(arrays(shards[:1], column)).shape[1:]
    whole: np.memmap[Any, np.dtype[np.float16]] = np.lib.format.open_memmap(
        out, mode="w+", dtype=np.float16, shape=(rows, *shape)
    )
    at = 0
    for values in arrays(shards, column):
        whole[at : at + len(values)] = values
        at += len(values)
    return whole
