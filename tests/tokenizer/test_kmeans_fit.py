"""Fitting k-means: as good as plain Lloyd, the same bits whoever decodes, no dead codes, a bounded memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nextpatch.patches import patchify
from nextpatch.tokenizer import kmeans_fit
from nextpatch.tokenizer.artifact import Artifact
from nextpatch.tokenizer.config import FitOptions
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.tokenizer.kmeans_lloyd import MiniBatches, Totals
from nextpatch.tokenizer.kmeans_start import first_centers
from nextpatch.tokenizer.nearest import nearest
from tokenizers_made import views

OPTIONS = FitOptions(codes=24)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def error(rows: torch.Tensor, centers: torch.Tensor) -> float:
    return float(nearest(rows, centers).distances.double().sum())


def plain_lloyd(rows: torch.Tensor, codes: int, passes: int = 60) -> float:
    """The error of the textbook's algorithm, in float64, from centers drawn evenly; the best of three tries."""
    wide, found = rows.double(), []
    for seed in range(3):
        centers = wide[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:codes]]
        for _ in range(passes):
            at = torch.cdist(wide, centers).argmin(dim=1)
            centers = torch.stack([wide[at == k].mean(0) if (at == k).any() else centers[k] for k in range(codes)])
        found.append(float(torch.cdist(wide, centers).amin(dim=1).square().sum()))
    return min(found)


@pytest.mark.parametrize("norm", [False, True])
def test_the_error_is_that_of_plain_lloyd(norm: bool) -> None:
    seen, options = views(images=200), replace(OPTIONS, norm=norm)
    made = kmeans_fit.fit_kmeans(seen, options, 4, seed=0)
    kept = kmeans_fit._Patches(seen, options, 4, 0)
    rows = torch.cat([rows for _, rows in kept.streamed()])
    centers = made.tensors["centers"]
    assert error(rows, centers) < 1.03 * plain_lloyd(rows, 24)
    shares = torch.bincount(nearest(rows, centers).codes, minlength=24) / len(rows)
    assert torch.allclose(made.tensors["frequencies"], shares, atol=1e-6)
    assert bool((shares > 0).all())


def test_the_bits_do_not_depend_on_workers() -> None:
    made = [
        kmeans_fit.fit_kmeans(views(images=60, workers=workers), OPTIONS, 4, seed=3).digest for workers in (0, 1, 3)
    ]
    other = kmeans_fit.fit_kmeans(views(images=60), OPTIONS, 4, seed=4).digest
    assert made[0] == made[1] == made[2] != other


def test_patches_that_are_kept_are_spread_over_all_images_and_no_more_than_said() -> None:
    seen = views(images=50)
    patches = kmeans_fit._Patches(seen, replace(OPTIONS, keep_patches=200), 4, 0)
    rows = torch.cat([rows for _, rows in patches.streamed()]).view(50, 16, -1)
    kept = torch.cat(list(patches.kept())).view(50, 4, -1)
    for image, some in zip(rows, kept, strict=True):
        assert all(bool((image == patch).all(dim=1).any()) for patch in some)
    assert torch.equal(rows.flatten(0, 1), patchify(next(seen.batches(0, 50)), 4).flatten(0, 1))


def test_first_centers_are_different_rows_and_far_apart() -> None:
    rows = drawn(500, 6).repeat(2, 1)
    centers = first_centers(rows, 400, seed=1)
    assert len(torch.unique(centers, dim=0)) == 400
    assert float(nearest(centers, rows).distances.max()) < 1e-4
    clusters = drawn(8, 6) * 100
    found = first_centers((clusters[:, None] + drawn(8, 50, 6)).flatten(0, 1), 8, seed=0)
    assert sorted(nearest(found, clusters).codes.tolist()) == list(range(8))


def test_fewer_different_patches_than_codes_are_an_error_with_their_number() -> None:
    rows = drawn(7, 3).repeat(30, 1)
    assert len(first_centers(rows, 7, seed=0)) == 7
    with pytest.raises(TokenizerError, match=r"only 7 of 210 patches are different.* 8 codes"):
        first_centers(rows, 8, seed=0)
    black = views(pixels=np.zeros((20, 16, 16, 1), np.uint8))
    with pytest.raises(TokenizerError, match="only 1 of 320 patches"):
        kmeans_fit.fit_kmeans(black, OPTIONS, 4, seed=0)


def test_dead_codes_begin_anew_at_the_farthest_rows() -> None:
    rows = torch.cat([drawn(50, 2), torch.tensor([[90.0, 0.0], [0.0, 80.0]])])
    centers = torch.cat([drawn(3, 2), torch.full((2, 2), 1e4)])
    totals = Totals(centers)
    totals.add(rows[:30], centers)
    totals.add(rows[30:], centers)
    means = totals.means(centers)
    assert means[3:].tolist() == [[90.0, 0.0], [0.0, 80.0]]
    learned = MiniBatches(centers)
    for _ in range(60):
        learned.learn(rows)
    assert float(nearest(rows, learned.centers).distances.max()) < 30  # the two far ones have a code each


def test_codes_of_a_fit_open_as_a_tokenizer(tmp_path: object) -> None:
    made = kmeans_fit.fit_kmeans(views(images=40), OPTIONS, 4, seed=0)
    assert isinstance(made, Artifact)
    assert made.facts.options == {"norm": False}
    assert (made.facts.codes, made.facts.in_chans, made.facts.patch_dim) == (24, 1, 16)
