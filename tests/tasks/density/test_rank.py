"""Images are ranked by their bits, or by those beyond a plain file's; lists and contact sheets carry marks."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

import nextpatch
from densities import backbone_of, images_of
from nextpatch.core.errors import UserError
from nextpatch.core.marks import is_ours
from nextpatch.core.output import save_picture
from nextpatch.tasks.density.codecs_beside import plain_bits
from nextpatch.tasks.density.contact_sheet import Cell, draw_cells
from nextpatch.tasks.density.rank import as_csv, record
from nextpatch.tasks.density.weighing import image_nats


def test_bits_are_those_of_the_likelihoods_strangest_first():
    backbone, pixels = backbone_of(), images_of(7)
    found = nextpatch.density(backbone, pixels, batch_size=3, quiet=True)
    bits = image_nats(backbone, torch.from_numpy(pixels).permute(0, 3, 1, 2)) / np.log(2) / 72
    assert [one.bits_per_dim for one in found] == pytest.approx(sorted(bits.tolist(), reverse=True), rel=1e-5)
    assert [one.number for one in found] == bits.argsort(descending=True).tolist()
    assert not any(one.resized for one in found)
    assert found.bits_per_dim == pytest.approx(float(bits.mean()), rel=1e-5)


def test_surprise_is_what_a_plain_file_does_not_explain():
    backbone, pixels = backbone_of(), images_of(7)
    found = nextpatch.density(backbone, pixels, against="png", quiet=True)
    for one in found:
        view = torch.from_numpy(pixels[one.number]).permute(2, 0, 1)
        assert one.surprise == pytest.approx(one.bits_per_dim - plain_bits(view, "png") / 72)
    surprises = [one.surprise for one in found]
    assert surprises == sorted(surprises, reverse=True)


def test_an_image_of_another_size_is_marked():
    found = nextpatch.density(backbone_of(), [Image.new("RGB", (30, 20)), Image.new("RGB", (6, 4))], quiet=True)
    assert sorted((one.number, one.resized) for one in found) == [(0, True), (1, False)]


@pytest.mark.parametrize("kind", ["png", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_plain_files_are_lossless_lengths(kind, channels):
    noise = torch.randint(0, 256, (channels, 32, 32), dtype=torch.uint8)
    assert plain_bits(noise, kind) > 8 * noise.numel()
    assert plain_bits(torch.zeros_like(noise), kind) < 8 * 200
    with pytest.raises(UserError, match="1 or 3 channels"):
        plain_bits(torch.zeros(2, 4, 4, dtype=torch.uint8), kind)


def test_lists_name_every_image_and_sheets_carry_a_mark(tmp_path):
    found = list(nextpatch.density(backbone_of(), images_of(7), against="webp", quiet=True))
    rows = list(csv.DictReader(as_csv(found).splitlines()))
    assert [row["image"] for row in rows] == [one.image for one in found]
    assert json.loads(json.dumps(record(found[0])))["surprise"] == found[0].surprise
    save_picture(draw_cells([Cell(torch.zeros(3, 4, 6, dtype=torch.uint8), "1.0", "name")]), tmp_path / "sheet.png")
    assert is_ours(tmp_path / "sheet.png")
