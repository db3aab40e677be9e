"""Compressed images come back bit for bit, in as many bytes as their likelihoods claim; other files are refused."""

from __future__ import annotations

import io
import json
import math
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nextpatch
from densities import backbone_of, images_of
from nextpatch.core.errors import FileError, UserError
from nextpatch.core.marks import COMPRESSED, is_ours
from nextpatch.data.error import DataError
from nextpatch.tasks.density.archive import read_archive, write_archive
from nextpatch.tasks.density.compress import Compressed
from nextpatch.tasks.density.restore import file_name, restore
from nextpatch.tasks.density.weighing import image_nats
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.error import WeightsError

pytest.importorskip("constriction")


def compressed(backbone: Backbone, pixels: np.ndarray, out: Path, **how: int) -> Compressed:
    return nextpatch.compress(backbone, pixels, out, quiet=True, **how)


@pytest.mark.parametrize(
    ("channels", "values"),
    [(3, {}), (1, {"order": "spiral"}), (3, {"order": "any", "attention": "causal"})],
)
def test_images_come_back_bit_for_bit_in_the_bytes_that_are_claimed(tmp_path, channels, values):
    backbone, pixels = backbone_of(channels=channels, **values), images_of(9, channels)
    made = compressed(backbone, pixels, tmp_path / "all", batch_size=4)
    found = list(nextpatch.decompress(backbone, tmp_path / "all", quiet=True).values())
    assert np.array_equal(np.stack(found), pixels)
    nats = image_nats(backbone, torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert made.claimed_bits == pytest.approx(float(nats.sum()) / math.log(2), rel=1e-4)
    assert abs(8 * made.coded_bytes - made.claimed_bits) <= 0.01 * made.claimed_bits + 64
    assert made.file_bytes == (tmp_path / "all").stat().st_size
    assert is_ours(tmp_path / "all")


def test_files_are_restored_under_harmless_names(tmp_path):
    backbone, pixels = backbone_of(), images_of(3)
    compressed(backbone, pixels, tmp_path / "all")
    assert restore(backbone, tmp_path / "all", tmp_path / "out") == 3
    for path, image in zip(sorted((tmp_path / "out").iterdir()), pixels, strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), image)
    with pytest.raises(UserError, match="not empty"):
        restore(backbone, tmp_path / "all", tmp_path / "out")
    assert file_name(3, "../../etc/passwd", 3) == "000003-passwd.png"
    assert file_name(0, "a\\b\\photo 1.JPG", 1) == "000000-photo_1.png"
    assert file_name(7, "..", 5) == "000007-...npy"


def test_damaged_and_foreign_files_are_refused(tmp_path):
    backbone, path, bad = backbone_of(), tmp_path / "all", tmp_path / "bad"
    compressed(backbone, images_of(), path)
    data = path.read_bytes()
    changed = bytearray(data)
    changed[-3] ^= 1
    for said, content in (
        ("was not written by nextpatch compress", b"PK\x03\x04"),
        ("was not written by nextpatch compress", b""),
        ("damaged", COMPRESSED),
        ("damaged", COMPRESSED + (10).to_bytes(4, "little") + b"0123456789"),
        ("damaged", data[:100]),
        ("damaged", data[:-5]),
        ("damaged", data + b"\0"),
        ("damaged", bytes(changed)),
        ("damaged", COMPRESSED + _packed({"version": 1})),
    ):
        bad.write_bytes(content)
        with pytest.raises(FileError, match=said):
            nextpatch.decompress(backbone, bad, quiet=True)


def _packed(values: object) -> bytes:
    packed = zlib.compress(json.dumps(values).encode())
    return len(packed).to_bytes(4, "little") + packed


def test_other_weights_are_refused_and_other_machines_told(tmp_path, caplog):
    backbone, path = backbone_of(), tmp_path / "all"
    compressed(backbone, images_of(), path)
    with pytest.raises(FileError, match="other weights"):
        nextpatch.decompress(backbone_of(seed=1), path, quiet=True)
    header, payload = read_archive(path)
    write_archive(path, replace(header, torch="1.0", cpu="Z80"), payload)
    assert len(nextpatch.decompress(backbone, path)) == 5
    assert "torch 1.0 there" in caplog.text
    assert "CPU Z80 there" in caplog.text


def test_a_wrong_restoration_is_seen(tmp_path):
    backbone, path = backbone_of(), tmp_path / "all"
    compressed(backbone, images_of(), path, batch_size=2)
    header, payload = read_archive(path)
    write_archive(path, replace(header, checks=(*header.checks[:-1], header.checks[-1] ^ 1)), payload)
    with pytest.raises(FileError, match="batch 2 does not come back as it was"):
        nextpatch.decompress(backbone, path, quiet=True)
    write_archive(path, replace(header, pixels="0" * 64), payload)
    with pytest.raises(FileError, match="not those that were compressed"):
        nextpatch.decompress(backbone, path, quiet=True)


def _file(image: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_file(Image.fromarray(np.zeros((4, 6), np.uint16))), "more than 8 bits"),
        (_file(Image.new("RGBA", (6, 4), (1, 2, 3, 100))), "transparent"),
        (_file(Image.new("RGB", (6, 5))), "exactly 3 x 4 x 6"),
        (_file(Image.new("RGB", (6, 4)))[:40], "cannot be read"),
    ],
)
def test_images_that_would_not_come_back_are_refused(tmp_path, data, said):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(data)
    with pytest.raises(DataError, match=said):
        nextpatch.compress(backbone_of(), tmp_path / "images", tmp_path / "all", quiet=True)
    assert not (tmp_path / "all").exists()


def test_weights_without_likelihoods_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="head density"):
        nextpatch.density(backbone_of(head="mlp"), images_of(), quiet=True)
