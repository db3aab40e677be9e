"""What features to take of which images (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nextpatch.core.bounds import BATCH, SIDE, WORKERS, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.data.preprocessing import Layout
from nextpatch.runs.config import Device, Precision

Pool = Literal["auto", "attention", "mean", "patches"]
ENDINGS = (".parquet", ".npy", ".safetensors")


@dataclass(frozen=True)
class EmbedConfig:
    """Features of every image of `data`, float16, into `out`.

    `out`: a .parquet, .npy or .safetensors file, or a folder, which gets one Parquet file per shard. `pool`: one vector
    an image by the attention of the classifier that comes with the weights, by the mean of its patches, or every patch
    by itself; "auto" is attention where there is a classifier, else the mean. `layers`: blocks whose outputs are
    averaged (empty: those that the weights say); with `each_layer` one column for each block instead. `shard_images`:
    images in one unit of work, which is done wholly or not at all. `img_size`, `pixel_range`, `layout`: how images are
    seen, where it is otherwise than the weights say (see `nextpatch.load`).
    """

    data: str
    weights: str
    out: Path
    pool: Pool = "auto"
    layers: str = ""
    each_layer: bool = False
    batch_size: int = 32
    shard_images: int = 8192
    workers: int = 0
    device: Device = "auto"
    precision: Precision = "auto"
    ray: bool = False
    img_size: tuple[int, int] | None = None
    pixel_range: tuple[float, float] | None = None
    layout: Layout | None = None

    def __post_init__(self) -> None:
        check_bounds(self, batch_size=(1, BATCH[1]), shard_images=(1, 10**7), workers=WORKERS, img_size=SIDE)
        if self.out.suffix and self.out.suffix not in ENDINGS:
            raise ConfigError(f"out {self.out} must end in {', '.join(ENDINGS)}, or be a folder")
        if self.each_layer and not self.layers:
            raise ConfigError("each_layer needs layers: which blocks, as 3,7,11 or 0-11")

    @property
    def parts(self) -> Path:
        """The folder of finished shards: `out` itself, or one beside it until all are there."""
        return self.out.with_name(f".{self.out.name}.parts") if self.out.suffix else self.out
