"""Finished shards as one file: Parquet, npy or safetensors, each written in one pass and put in place in one step."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float16

from nextpatch.core.files import replacing
from nextpatch.core.tensors import save_safetensors
from nextpatch.tasks.embed.columns import (
    BESIDE,
    Digests,
    content_of,
    facts_of,
    feature_columns,
    metadata_of,
    rows_in,
    tables_of,
)


def combine(shards: Sequence[Path], out: Path) -> None:
    """The rows of all shards, in order, as `out`: its ending says the format.

    .npy holds the features alone and .safetensors a tensor for each column; the other columns of both lie beside them
    as OUT.rows.parquet, row by row. Everything is written as a stream: on a full disk OSError is raised, and nothing is
    left. FileError when a shard is not as it was written.
    """
    write: Callable[[Sequence[Path], Path], None] = {
        ".parquet": _parquet, ".npy": _npy, ".safetensors": _safetensors
    }[out.suffix]  # fmt: skip
    filled = [shard for shard in shards if rows_in(shard)]
    if out.suffix != ".parquet":
        _parquet(filled, rows_beside(out), list(BESIDE))
    write(filled, out)


def rows_beside(out: Path) -> Path:
    """Where the rows of an .npy or .safetensors file are named."""
    return out.with_suffix(".rows.parquet")


def arrays(shards: Sequence[Path], column: str) -> Iterator[Float16[np.ndarray, "rows ..."]]:
    """The features of one column, shard by shard."""
    facts = facts_of(shards[0])
    for shard in shards:
        for table in tables_of(shard, [column]):
            values: pa.FixedSizeListArray = table.column(column).combine_chunks()
            flat: np.ndarray = values.flatten().to_numpy(zero_copy_only=False).astype(np.float16, copy=False)
            shape = (len(values), -1, facts["dim"]) if facts["kind"] == "patches" else (len(values), -1)
            yield flat.reshape(shape)


def _parquet(shards: Sequence[Path], out: Path, columns: list[str] | None = None) -> None:
    facts, digests = facts_of(shards[0]), Digests()
    schema = next(tables_of(shards[0], columns)).schema.with_metadata(metadata_of(facts, {}))
    with replacing(out) as aside, pq.ParquetWriter(aside, schema, compression="zstd") as writer:
        for shard in shards:
            for table in tables_of(shard, columns):
                digests.add(table)
                writer.write_table(table.cast(schema))
        writer.add_key_value_metadata(content_of(facts, {}, digests.values()))


def _npy(shards: Sequence[Path], out: Path) -> None:
    [column] = feature_columns(shards[0])
    with replacing(out) as aside, aside.open("wb") as file:
        shape = _shape(shards, column)
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
        _write(file, shards, column)


def _safetensors(shards: Sequence[Path], out: Path) -> None:
    tensors, drafts = {}, []
    try:
        for column in feature_columns(shards[0]):
            drafts.append(out.with_name(f".{out.name}.{column}.unfinished"))
            with drafts[-1].open("wb") as file:
                _write(file, shards, column)
            shape = _shape(shards, column)
            whole = torch.from_file(str(drafts[-1]), shared=False, size=int(np.prod(shape)), dtype=torch.float16)
            tensors[column] = whole.view(shape)
        save_safetensors(out, tensors, {"nextpatch": json.dumps(facts_of(shards[0]))})
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)


def _shape(shards: Sequence[Path], column: str) -> tuple[int, ...]:
    """Of all rows of a column."""
    return (sum(map(rows_in, shards)), *next(arrays(shards[:1], column)).shape[1:])


def _write(file: BinaryIO, shards: Sequence[Path], column: str) -> None:
    """All rows of a column, one after the other: never whole in memory."""
    for values in arrays(shards, column):
        file.write(np.ascontiguousarray(values, "<f2").data)
