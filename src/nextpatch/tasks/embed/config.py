"""What features to take of which images (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from nextpatch.core.bounds import BATCH, SIDE, WORKERS, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.fields import Flag
from nextpatch.data.config import Images
from nextpatch.data.preprocessing import ViewOptions
from nextpatch.model.config import InferenceAttention
from nextpatch.runs.config import Device, Precision, Weights

Pool = Literal["auto", "attention", "regions", "mean", "patches"]
SpaceName = Literal["auto", "whitened", "standardized"]  # that neighbors are found in
ENDINGS = (".parquet", ".npy", ".safetensors")


@dataclass(frozen=True)
class EmbedConfig(ViewOptions):
    """Features of every image of `data`, float16, into `out`."""

    data: Annotated[Images, Flag(positional=True)]
    """Images whose features are computed."""
    weights: Weights
    """Weights that compute the features."""
    out: Annotated[Path, Flag("FILE")]
    """Where to write: a .parquet, .npy or .safetensors file, or a folder, which gets one Parquet file per shard."""
    pool: Pool = "auto"
    """attention, regions or mean: one vector per image, by the classifier's attention pooling, as the means of 3 x 3 or
    2 x 2 regions side by side, or as the mean of all patches; patches: one vector per patch; auto: attention if the
    weights have a classifier, else regions where they are at most 2,048 values, else mean.
    """
    layers: Annotated[str, Flag("SET")] = ""
    """Blocks whose outputs are averaged: 14-19, 3, 2,3, last or best (default: as the weights say)."""
    attention: InferenceAttention | None = None
    """Attention by which features are computed; causal: each patch from those before it in the model's order (default:
    as the classifier of the weights reads them, else bidirectional)."""
    each_layer: bool = False
    """Write one column for each block, instead of their mean."""
    batch_size: int = 32
    """Images computed at a time."""
    shard_images: int = 8192
    """Images in one unit of work, which is finished completely or done again."""
    workers: int = 0
    """Processes that decode images; 0: the main process decodes them."""
    device: Device = "auto"
    """Where to compute."""
    precision: Precision = "auto"
    """Number format of matrix products."""
    ray: bool = False
    """Distribute the work with Ray: over the cluster at $RAY_ADDRESS, or on this machine."""

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
