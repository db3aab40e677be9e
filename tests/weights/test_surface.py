"""From a picture in any form to the numbers that `nextpatch embed` writes; what is no picture is refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import torch
from PIL import Image

import nextpatch
from nextpatch.core.errors import UserError
from nextpatch.data.error import DataError
from nextpatch.tasks.embed.config import EmbedConfig
from nextpatch.tasks.embed.run import embed
from nextpatch.weights.backbone import Backbone


@pytest.fixture
def model(snapshot: Path) -> Backbone:
    return nextpatch.load(snapshot)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "photos" / "class").mkdir(parents=True)
    for i in range(5):
        smooth = np.kron(rng.integers(0, 255, (5 + i, 6, 3)), np.ones((9, 9, 1))).astype(np.uint8)
        Image.fromarray(smooth).save(tmp_path / "photos" / "class" / f"{i}.jpg", quality=95)
    return tmp_path / "photos"


def test_every_form_of_a_picture_gives_what_embed_writes(model: Backbone, photos: Path, tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder
    from torchvision.transforms.functional import to_tensor

    out = tmp_path / "f.parquet"
    embed(EmbedConfig(str(photos), model.about.name, out, device="cpu"))
    table = pq.read_table(out)
    wanted = torch.from_numpy(np.stack(table.column("features").to_numpy()))
    paths = [Path(path) for path in table.column("path").to_pylist()]
    pictures = [Image.open(path) for path in paths]
    arrays = [np.asarray(picture) for picture in pictures]
    loader = torch.utils.data.DataLoader(ImageFolder(photos, transform=model.transform), batch_size=2)
    forms: list[Any] = [
        paths, list(map(str, paths)), pictures, arrays, [to_tensor(picture) for picture in pictures],
        [array.astype(np.float32) / 255 for array in arrays], loader, iter(paths),
        [path.read_bytes() for path in paths],
    ]  # fmt: skip
    for images in forms:
        found = model.embed(images, batch_size=2)
        torch.testing.assert_close(found.half(), wanted.half(), rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(model.embed(paths[0]).half()[0], wanted[0].half(), rtol=2e-3, atol=2e-3)
    views = model.transform(pictures)
    assert views.shape == (5, 3, 28, 28)
    assert torch.equal(model.read(views), model.read(model.inputs(views)))
    torch.testing.assert_close(model.inputs(views / 255), model.inputs(views))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "YCbCr", "HSV"])
def test_every_mode_of_pillow_is_a_picture(mode: str, model: Backbone) -> None:
    if mode in ("I;16", "F"):
        picture = Image.fromarray(np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40))
        picture = picture if mode == "F" else Image.fromarray((np.asarray(picture) * 65535).astype(np.uint16))
    else:
        picture = Image.new("RGBA" if mode in ("LA",) else "RGB", (40, 40), "orange").convert(mode)
    assert model.transform(picture).shape == (3, 28, 28)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (torch.randn(2, 3, 28, 28), "are not pixels"), (torch.rand(2, 3, 28, 28) * 255, "are not pixels"),
        (torch.full((1, 3, 28, 28), float("nan")), "are not pixels"), (torch.rand(3, 28, 28), r"images\[None\]"),
        (torch.rand(2, 1, 28, 28), "3 channels"), (torch.rand(2, 3, 28, 30), "28 x 28"),
        (torch.zeros(2, 3, 28, 28, dtype=torch.int64), "no known range"),
        (np.zeros((2, 3, 28, 28)), "must be a tensor"),
        ("cat.jpg", "must be a tensor"), (torch.rand(28), "not a batch"),
    ],
)  # fmt: skip
def test_inputs_refuses_what_is_no_batch_of_pixels(images: Any, told: str, model: Backbone) -> None:
    with pytest.raises(UserError, match=told):
        model.inputs(images)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((3, 40, 50), np.uint8), "transpose"), (np.zeros((40, 50, 5), np.uint8), "5 channels"),
        (np.zeros((40, 50, 3), np.int32), "no known range"), (np.full((40, 50, 3), 7.0), "not pixels"),
        (np.zeros((0, 3, 3), np.uint8), "not an image"), (np.zeros(3), "not an image"),
        (torch.zeros(40, 50, 3), "50|channels"), (b"no image", "cannot be used"),
        ("nowhere.jpg", "cannot be read"), (3, "n.* an image"), (None, "n.* an image"),
        ([], "no images"), ([3], "not an image"), (Path(), "is a folder"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused(image: Any, told: str, model: Backbone) -> None:
    for call in (model.transform, model.embed):
        with pytest.raises(UserError, match=told):
            call(image)


def test_sixteen_bits_of_pillow_are_those_of_their_file(model: Backbone, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (24, 28), np.uint16)
    for kind, options in (("white", {"photometric": "miniswhite"}), ("black", {"photometric": "minisblack"})):
        path = tmp_path / f"{kind}.tif"
        tifffile.imwrite(path, values, metadata=None, **options)
        with Image.open(path) as picture:
            assert torch.equal(model.transform(picture), model.transform(path))
    assert torch.equal(model.transform(values.astype(">u2")), model.transform(values))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Image.new("La", (9, 9)), "cannot be read"),
        (lambda: Image.new("I", (9, 9)), "int32 from 0 to 0, not 8 or 16 bits"),
        (lambda: torch.zeros(3, 9, 9, device="meta"), "cannot be read"),
        (lambda: torch.zeros(3, 9, 9).to_sparse(), "cannot be read"),
        (lambda: [[np.zeros((9, 9, 3), np.uint8)] * 2, [np.zeros((9, 9, 3), np.uint8)]], "one list of all images"),
    ],
)
def test_what_holds_no_pixels_is_a_named_error(model: Backbone, make: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        model.transform(make())


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_no_images_is_refused(model: Backbone, size: int) -> None:
    with pytest.raises(DataError, match=f"batch_size {size} must be at least 1"):
        model.embed([np.zeros((9, 9, 3), np.uint8)], batch_size=size)
