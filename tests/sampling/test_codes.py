"""Codes are drawn with their probabilities, within the most probable ones, and decoded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nextpatch.patches import patchify
from nextpatch.sampling.drawing import drawn_codes
from sampled import coded, images_of, sampler_of

LOGITS = torch.tensor([0.1, 0.5, 0.25, 0.15]).log()
EVENLY = (torch.arange(1000) + 0.5) / 1000


def shares(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> list[float]:
    codes = drawn_codes(LOGITS.expand(1000, -1), EVENLY, temperature, top_k, top_p)
    return (torch.bincount(codes, minlength=4) / 1000).tolist()


def test_codes_come_as_often_as_they_are_probable() -> None:
    assert shares() == pytest.approx([0.1, 0.5, 0.25, 0.15], abs=0.002)
    sharper = (LOGITS / 0.5).softmax(dim=0).tolist()
    assert shares(temperature=0.5) == pytest.approx(sharper, abs=0.002)
    assert shares(temperature=0.0) == [0, 1, 0, 0]


def test_only_the_most_probable_codes_are_drawn() -> None:
    assert shares(top_k=2) == pytest.approx([0, 2 / 3, 1 / 3, 0], abs=0.002)
    assert shares(top_k=9) == shares()
    assert shares(top_p=0.7) == pytest.approx([0, 2 / 3, 1 / 3, 0], abs=0.002)
    assert shares(top_p=0.76) == pytest.approx([0, 5 / 9, 2.5 / 9, 1.5 / 9], abs=0.002)
    assert shares(top_p=1e-6) == [0, 1, 0, 0]
    assert shares(top_k=1, top_p=0.9) == [0, 1, 0, 0]


def test_numbers_at_the_ends_give_codes_that_exist() -> None:
    ends = torch.tensor([1e-10, 1.0, 1.0 - 2**-24])
    assert drawn_codes(LOGITS.expand(3, -1), ends, 1.0, 0, 1.0).tolist() == [1, 0, 0]
    assert drawn_codes(LOGITS.expand(3, -1), ends, 1.0, 3, 1.0).tolist() == [1, 3, 3]


def test_images_are_made_of_the_pixels_of_codes(tmp_path: Path) -> None:
    model = coded(tmp_path)
    images = images_of(sampler_of(model), [0, 1, 2], [0, 1, 2])
    patches = patchify(images.float(), 2).flatten(0, 1)
    assert 2 <= len(patches.unique(dim=0)) <= 7
