"""The weights, and what is computed with them: the features of one shard of images after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nextpatch.config import ConfigError, to_dict
from nextpatch.core.files import write_text
from nextpatch.data.collection import absolute as absolute_place
from nextpatch.data.error import DataError
from nextpatch.data.fingerprint import digest_of_images, fingerprint_of
from nextpatch.data.loader import eval_batches
from nextpatch.data.skipped import Bad
from nextpatch.data.sources.source import Source
from nextpatch.tasks.embed.config import EmbedConfig
from nextpatch.tasks.embed.moved import digest_path
from nextpatch.tasks.embed.shard import Columns, write_shard, write_table
from nextpatch.weights.inference import InferenceModel
from nextpatch.weights.load import load
from nextpatch.weights.names import absolute


class Embedder:
    """The weights of a task, and the features that are computed with them."""

    def __init__(self, config: EmbedConfig) -> None:
        self.config = config
        backbone = load(
            config.weights, layers=config.layers, img_size=config.img_size, pixel_range=config.pixel_range,
            layout=config.layout, attention=config.attention,
        )  # fmt: skip
        self.digest = backbone.digest()  # before any conversion: of the weights as they are
        self.inference = InferenceModel.of(backbone, config.device, config.precision)
        self.columns = Columns.of(backbone, config.pool, config.each_layer)
        if config.out.suffix == ".npy" and self.columns.each_layer and len(self.columns.layers) > 1:
            raise ConfigError(
                f".npy holds one array, and there are {len(self.columns.layers)} columns; use .parquet or .safetensors"
            )

    def facts(self, source: Source) -> dict[str, Any]:
        """What decides the features, beside the images: two works with equal facts may be put together."""
        config, about = self.config, self.inference.backbone.about
        patches = "patches" if self.columns.pool == "patches" else "vector"
        return {
            "weights": absolute(config.weights), "weights_sha256": self.digest, "layers": list(self.columns.layers),
            "attention": about.attention, "each_layer": config.each_layer, **self.columns.facts,
            "precision": self.inference.precision,
            "img_size": list(about.img_size), "mean": list(about.mean), "std": list(about.std),
            "preprocessing": to_dict(about.preprocessing), "dim": about.dim, "kind": patches,
            "data": absolute_place(config.data), "data_sha256": source.digest, "images": len(source),
            "shard_images": config.shard_images, "images_were": asdict(fingerprint_of(source)),
        }  # fmt: skip

    def bytes_of(self, images: int) -> int:
        """About what the features of so many images take, in parts and put together."""
        about, columns = self.inference.backbone.about, self.columns
        values = columns.width(about.dim, about.num_patches)
        whole = images * values * 2 * (len(columns.layers) if columns.each_layer else 1)
        return whole * (2 if self.config.out.suffix else 1)

    def work(self, source: Source, number: int, facts: dict[str, Any], advance: Callable[[int], None]) -> None:
        """One shard."""
        config, about = self.config, self.inference.backbone.about
        indices = np.asarray(indices_of(config, source, number))
        path, bad = part_path(config.parts, number), Bad()
        batches = eval_batches(
            source, indices, about.img_size, about.in_chans, config.batch_size, config.workers, bad, about.preprocessing
        )
        if not getattr(source, "remote", False):
            write_text(digest_path(path), digest_of_images(source, indices.tolist()))
        positions = {source.key(index): index for index in indices.tolist()}
        try:
            write_shard(path, facts, batches, partial(self.columns, self.inference), advance, positions)
        except DataError:
            if len(bad) < len(indices):
                raise
            write_table(path, [], facts, bad, positions)  # not one image of this shard decodes: others may


def indices_of(config: EmbedConfig, source: Source, number: int) -> range:
    """Which images belong to a shard."""
    start = number * config.shard_images
    return range(start, min(len(source), start + config.shard_images))


def part_path(parts: Path, number: int) -> Path:
    """The file of a shard."""
    return parts / f"part-{number:06d}.parquet"
