"""Codes of k-means: each patch by its nearest center, however many there are, and back to pixels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from nextpatch.core.errors import UserError
from nextpatch.patches import patch_statistics, patchify
from nextpatch.tokenizer import nearest as nearest_module
from nextpatch.tokenizer.kmeans import KMeansTokenizer, comparable
from nextpatch.tokenizer.nearest import nearest
from tokenizers_made import FACTS, artifact

NORM = replace(FACTS, options={"norm": True})


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_nearest_code_is_that_of_the_plain_distances_in_pieces_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, codes = drawn(301, 12), drawn(40, 12, seed=1)
    plain = (rows.double()[:, None] - codes.double()).square().sum(dim=2).argmin(dim=1)
    assert torch.equal(nearest(rows, codes).codes, plain)
    monkeypatch.setattr(nearest_module, "_PIECE", 7 * 40)
    assert torch.equal(nearest(rows, codes).codes, plain)
    assert nearest(rows[:0], codes).codes.shape == (0,)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nearest(rows, codes).codes, plain)


@pytest.mark.parametrize("facts", [FACTS, NORM])
def test_images_of_any_grid_have_the_codes_of_their_patches(facts: object) -> None:
    tokenizer = KMeansTokenizer(artifact(facts))  # type: ignore[arg-type]
    for height, width in ((2, 2), (4, 6), (10, 2)):
        images = drawn(3, 3, height, width)
        codes = tokenizer.encode(images)
        patches = patchify(images, 2)
        assert codes.shape == (3, height * width // 4)
        assert torch.equal(codes, tokenizer.encode_patches(patches))
        one = tokenizer.encode_patches(patches[1, 0])
        assert one == codes[1, 0]
        again = tokenizer.decode(codes, (height // 2, width // 2))
        assert again.shape == images.shape
        assert torch.equal(patchify(again, 2), tokenizer.centers[codes])
    with pytest.raises(UserError, match="3 channels, these have 1"):
        tokenizer.encode(drawn(3, 1, 4, 4))
    with pytest.raises(UserError, match="do not divide"):
        tokenizer.encode(drawn(3, 3, 5, 4))


def test_centers_are_their_own_codes() -> None:
    tokenizer = KMeansTokenizer(artifact())
    codes = torch.arange(5)[None]
    assert torch.equal(tokenizer.encode(tokenizer.decode(codes, (1, 5))), codes)


def test_with_norm_a_code_does_not_depend_on_brightness_and_contrast_and_says_so() -> None:
    tokenizer = KMeansTokenizer(artifact(NORM))
    patches = drawn(50, 12)
    assert torch.equal(tokenizer.encode_patches(patches * 3 + 2), tokenizer.encode_patches(patches))
    mean, deviation = patch_statistics(comparable(patches, True)[None])
    assert float(mean.abs().max()) < 1e-6
    assert torch.allclose(deviation, torch.ones(()), atol=1e-5)
    assert (tokenizer.left_out, KMeansTokenizer(artifact()).left_out) == ("mean and variance", "")


def test_flat_patches_have_finite_codes() -> None:
    codes = KMeansTokenizer(artifact(NORM)).encode_patches(torch.full((4, 12), 0.7))
    assert len(set(codes.tolist())) == 1
