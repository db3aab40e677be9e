"""`nextpatch.embed`: features of images, in memory or as a file."""

from __future__ import annotations

from pathlib import Path
from typing import overload

from nextpatch.api.given_values import out_path
from nextpatch.api.images import Images, named
from nextpatch.api.session import session
from nextpatch.api.weights import Weights, model_of, place_of
from nextpatch.core.errors import ConfigError
from nextpatch.core.progress import phase
from nextpatch.data.preprocessing import Layout
from nextpatch.data.sources.open import open_source
from nextpatch.dist.ranks import Ranks
from nextpatch.model.config import InferenceAttention
from nextpatch.runs.config import Device, Precision
from nextpatch.tasks.embed.config import EmbedConfig, Pool
from nextpatch.tasks.embed.features import Features, features_of
from nextpatch.tasks.embed.run import Embedded
from nextpatch.tasks.embed.run import embed as embed_to_file


@overload
def embed(
    weights: Weights, images: Images, *, out: None = None, pool: Pool = "auto", layers: str = "",
    batch_size: int = 32, workers: int = 0, device: Device = "auto", precision: Precision = "auto",
    img_size: tuple[int, int] | None = None, pixel_range: tuple[float, float] | None = None,
    layout: Layout | None = None, attention: InferenceAttention | None = None, quiet: bool = False,
) -> Features: ...  # fmt: skip
@overload
def embed(
    weights: Weights, images: Images, *, out: str | Path, pool: Pool = "auto", layers: str = "",
    each_layer: bool = False, batch_size: int = 32, workers: int = 0, device: Device = "auto",
    precision: Precision = "auto", img_size: tuple[int, int] | None = None,
    pixel_range: tuple[float, float] | None = None, layout: Layout | None = None,
    attention: InferenceAttention | None = None, quiet: bool = False,
) -> Embedded: ...  # fmt: skip
def embed(
    weights: Weights,
    images: Images,
    *,
    out: str | Path | None = None,
    pool: Pool = "auto",
    layers: str = "",
    each_layer: bool = False,
    batch_size: int = 32,
    workers: int = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    img_size: tuple[int, int] | None = None,
    pixel_range: tuple[float, float] | None = None,
    layout: Layout | None = None,
    attention: InferenceAttention | None = None,
    quiet: bool = False,
) -> Features | Embedded:
    """Features of images: in memory, as an array with names, or with `out` in a file, as `nextpatch embed` writes it.

    `weights`: a name as `nextpatch.load` takes it, a model that is loaded, or a result of `pretrain` or `finetune`.
    `images`: one image or any collection, as `nextpatch.dataset` takes them, or a name as on the command line. `out`: a
    .parquet, .npy or .safetensors file, or a folder; a call that was stopped goes on there. `pool`: one vector an
    image, by the attention of the classifier that comes with the weights ("attention"), by the means of 3 x 3 or 2 x 2
    regions ("regions") or of all patches ("mean"), or every patch ("patches"); "auto" is attention where there is a
    classifier, else regions where these are at most 2,048 values. `layers`: blocks whose
    outputs are averaged, as "3", "2,3" or "0-3"; with `each_layer`, into a file, a column for each. `img_size`,
    `pixel_range`, `layout`: how images are read, if not as the weights say. `attention`: "causal" or "bidirectional",
    if not as the classifier of the weights reads them.

    Returns Features (float32, "images values") in memory, or what was written. Images that cannot be decoded are left
    out and named in `skipped`. Raises DataError, WeightsError or ConfigError for what cannot be used, and
    KeyboardInterrupt on Ctrl-C.

    >>> import numpy as np, nextpatch
    >>> pixels = np.random.default_rng(0).integers(0, 255, (6, 28, 28), np.uint8)
    >>> features = nextpatch.embed(nano_run, pixels, pool="regions", quiet=True)
    >>> features.array.shape, features.indices.tolist()
    ((6, 576), [0, 1, 2, 3, 4, 5])
    """
    seen = {
        "layers": layers, "img_size": img_size, "pixel_range": pixel_range, "layout": layout, "attention": attention,
    }  # fmt: skip
    given = named(images, one=True)
    if out is None and each_layer:
        raise ConfigError("each_layer writes a column for each block: say into which file, out=...")
    with session(quiet) as console:
        if out is None:
            with phase("loading the weights and opening the images"):
                model, source = model_of(weights, device, **seen), open_source(given.one("images"))
            return features_of(model, source, pool, batch_size, workers, precision, console)
        config = EmbedConfig(
            data=given.one("images"), weights=place_of(weights), out=out_path(out), pool=pool, layers=layers,
            each_layer=each_layer, batch_size=batch_size, workers=workers, device=device, precision=precision,
            img_size=img_size, pixel_range=pixel_range, layout=layout, attention=attention,
        )  # fmt: skip
        with Ranks.opened() as ranks:
            return embed_to_file(config, console, ranks)
