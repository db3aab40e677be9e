"""Draw the demo's images from Debian's package: `apt-get install dataset-fashion-mnist`, then run this.

Writes train.parquet and test.parquet into src/nextpatch/demo, in the Hub's image convention. Each holds equally many
images of every class, drawn with a fixed seed from the package's training and test split, in a random order.
"""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

FOLDER = Path(__file__).parents[1] / "src" / "nextpatch" / "demo"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
CLASSES = (
    "T-shirt / top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
SPLITS = {"train": ("train", 30_000), "test": ("t10k", 5_000)}  # ours: (the package's, how many)
SEED = 0
ROWS_PER_GROUP = 1000  # small, because readers take one row group at a time


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An array from an IDX file of bytes: two zeros, type 8, the number of axes, their lengths, the values."""
    data = gzip.decompress(path.read_bytes())
    axes = data[3]
    shape = np.frombuffer(data, ">u4", axes, offset=4).tolist()
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def draw(labels: NDArray[np.uint8], count: int, seed: int) -> NDArray[np.int64]:
    """Indices of `count` images, equally many of each class, in a random order."""
    rng = np.random.Generator(np.random.Philox(seed))
    each = count // len(CLASSES)
    chosen = [rng.permutation(np.flatnonzero(labels == label))[:each] for label in range(len(CLASSES))]
    return rng.permutation(np.concatenate(chosen))


def read_split(split: str) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8]]:
    """(numbers in the package, images, labels) of our `split`."""
    name, count = SPLITS[split]
    images, labels = (read_idx(DEBIAN / f"{name}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    chosen = draw(labels, count, SEED)
    return chosen, images[chosen], labels[chosen]


def png(image: NDArray[np.uint8]) -> bytes:
    """The smallest PNG that Pillow writes."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def table(split: str) -> Any:
    """The rows of our `split`; `path` tells which image of the package each one is."""
    chosen, images, labels = read_split(split)
    names = [f"{SPLITS[split][0]}_{number:05d}.png" for number in chosen.tolist()]
    rows = [{"bytes": png(image), "path": name} for image, name in zip(images, names, strict=True)]
    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    schema = pa.schema(
        {"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "label": pa.int64()},
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    return pa.table({"image": rows, "label": labels.astype(np.int64)}, schema=schema)


def main() -> None:
    """Write both files."""
    for split in SPLITS:
        path = FOLDER / f"{split}.parquet"
        pq.write_table(table(split), path, row_group_size=ROWS_PER_GROUP, compression="zstd")
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
