"""The codes of a collection: a row for each image, with its name; what cannot be decoded is left out and counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from nextpatch.config import ConfigError, from_dict
from nextpatch.core.files import replacing, write_text
from nextpatch.core.marks import MARK
from nextpatch.core.output import check_file
from nextpatch.core.progress import Meter, phase
from nextpatch.core.tensors import save_safetensors
from nextpatch.core.text import escape_for_utf8, shown
from nextpatch.data.collection import outside, relative
from nextpatch.data.loader import Batch, eval_batches
from nextpatch.data.preprocessing import AS_OURS, Preprocessing
from nextpatch.data.skipped import Bad
from nextpatch.data.sources.open import open_source
from nextpatch.data.survey import refuse_other_channels
from nextpatch.data.views import to_model_input
from nextpatch.model.precision import resolve_device
from nextpatch.tasks.tokenizer.config import ApplyConfig
from nextpatch.tokenizer.artifact import TokenizerFacts, read_artifact
from nextpatch.tokenizer.tokenizer import Tokenizer, file_of, tokenizer_of

_LARGEST = 2**31  # bytes of a .safetensors file, which is made in memory


@dataclass(frozen=True)
class Applied:
    """What came out: where, how many images of how many codes each, and how many were left out."""

    out: Path
    images: int
    patches: int
    skipped: int


def apply_tokenizer(config: ApplyConfig) -> Applied:
    """Write the codes of every image that can be decoded, in order, in one step when all are there.

    Columns `path` and `codes` (int32, raster order) in Parquet; in .safetensors a tensor "codes", with the names in
    OUT.keys.json beside it. Images that are left out are in OUT.skipped.jsonl, with the reason. Raises TokenizerError,
    DataError or ConfigError for what cannot be used.
    """
    outside(config.out, [config.data])
    beside = [config.out.with_suffix(".skipped.jsonl")]
    beside += [config.out.with_suffix(".keys.json")] if config.out.suffix == ".safetensors" else []
    check_file(config.out, beside=beside)
    with phase("opening the tokenizer and the images"):
        artifact = read_artifact(file_of(config.file))
        tokenizer = tokenizer_of(artifact).to(resolve_device(config.device))
        source, reading = open_source(config.data), preprocessing_of(artifact.facts)
        refuse_other_channels(source, tokenizer.in_chans, reading)
    size, bad = config.img_size or size_of(artifact.facts), Bad()
    patches = _patches(size, tokenizer.patch_size)
    every = np.arange(len(source))
    batches = eval_batches(source, every, size, tokenizer.in_chans, config.batch_size, config.workers, bad, reading)
    facts = {
        MARK: "codes", "tokenizer_sha256": tokenizer.digest, "kind": tokenizer.kind, "codes": tokenizer.codes,
        "img_size": list(size), "patch_size": tokenizer.patch_size, "data": relative(config.data),
    }  # fmt: skip
    with Meter("codes of", len(source)) as meter:
        tables = _tables(tokenizer, batches, patches, meter)
        write = _parquet if config.out.suffix == ".parquet" else _safetensors
        images = write(config.out, tables, facts, patches)
    _write_skipped(beside[0], bad)
    return Applied(config.out, images, patches, len(bad))


def preprocessing_of(facts: TokenizerFacts) -> Preprocessing:
    """How the images were read that it was fitted on; our own way where it does not say."""
    said = facts.fitted.get("preprocessing")
    return from_dict(Preprocessing, said, "the tokenizer's facts") if isinstance(said, dict) else AS_OURS


def size_of(facts: TokenizerFacts) -> tuple[int, int]:
    """The size of the views that it was fitted on; ConfigError where it does not say."""
    said = facts.fitted.get("img_size")
    if not isinstance(said, list) or [type(side) for side in said] != [int, int]:
        raise ConfigError("the tokenizer does not say at which size it was fitted; give --img-size H W")
    return said[0], said[1]


def _patches(size: tuple[int, int], patch_size: int) -> int:
    if min(size) < patch_size or size[0] % patch_size or size[1] % patch_size:
        raise ConfigError(
            f"{size[0]} x {size[1]} px do not divide into the tokenizer's patches of {patch_size}; give --img-size H W "
            "of multiples"
        )
    return (size[0] // patch_size) * (size[1] // patch_size)


def _tables(tokenizer: Tokenizer, batches: Iterator[Batch], patches: int, meter: Meter) -> Iterator[pa.Table]:
    for batch in batches:
        images = to_model_input(batch.images, tokenizer.mean, tokenizer.std, tokenizer.frequencies.device)
        codes = tokenizer.encode(images).cpu().int().numpy()
        column = pa.FixedSizeListArray.from_arrays(pa.array(codes.reshape(-1)), patches)
        paths = pa.array(map(escape_for_utf8, batch.keys), pa.string())
        meter.add(len(batch.keys) + len(batch.bad))
        yield pa.table({"path": paths, "codes": column})


def _parquet(out: Path, tables: Iterator[pa.Table], facts: dict[str, Any], patches: int) -> int:
    images = 0
    schema = pa.schema(
        {"path": pa.string(), "codes": pa.list_(pa.int32(), patches)}, metadata={MARK: json.dumps(facts)}
    )
    with replacing(out) as aside, pq.ParquetWriter(aside, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.cast(schema))
            images += len(table)
    return images


def _safetensors(out: Path, tables: Iterator[pa.Table], facts: dict[str, Any], patches: int) -> int:
    names: list[str] = []
    found: list[np.ndarray] = []
    for table in tables:
        names += table.column("path").to_pylist()
        found.append(table.column("codes").combine_chunks().flatten().to_numpy().reshape(-1, patches))
        if len(names) * patches * 4 > _LARGEST:
            raise ConfigError(f"{shown(out)} would be larger than 2 GiB, which are made in memory; write .parquet")
    save_safetensors(out, {"codes": torch.from_numpy(np.concatenate(found))}, {MARK: json.dumps(facts)})
    write_text(out.with_suffix(".keys.json"), json.dumps({MARK: "keys of codes", "keys": names}) + "\n")
    return len(names)


def _write_skipped(path: Path, bad: Bad) -> None:
    lines = [json.dumps({MARK: "skipped image", "path": key, **entry._asdict()}) + "\n" for key, entry in bad.items()]
    if lines:
        write_text(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)  # of earlier work
