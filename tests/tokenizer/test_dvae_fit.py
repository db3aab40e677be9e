"""Fitting a discrete autoencoder: the same bits whoever decodes, no dead codes, better than patches alone allow."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch

from nextpatch.core.errors import ConfigError
from nextpatch.tokenizer import dvae_fit
from nextpatch.tokenizer.config import FitOptions
from nextpatch.tokenizer.dvae_fit import fit_dvae, images_of_step
from nextpatch.tokenizer.ema_codes import MovingCodes
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.tokenizer.kmeans_fit import fit_kmeans
from nextpatch.tokenizer.straight_through import Schedule
from nextpatch.tokenizer.tokenizer import tokenizer_of
from tokenizers_made import views

TINY = FitOptions(kind="dvae", codes=16, steps=12, width=8, depth=1)


def test_the_bits_depend_on_the_seed_and_not_on_workers() -> None:
    made = [fit_dvae(views(images=60, workers=workers), TINY, 4, seed=3).digest for workers in (0, 2)]
    assert made[0] == made[1]
    assert fit_dvae(views(images=60), TINY, 4, seed=4).digest != made[0]


def test_its_error_is_below_that_of_k_means_and_its_codes_are_all_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvae_fit, "_ROWS", 512)
    seen = views(images=200, size=12)
    options = FitOptions(kind="dvae", codes=16, steps=200, lr=5e-3, width=32, depth=1)
    made = fit_dvae(seen, options, 4, seed=0)
    assert bool((made.tensors["frequencies"] > 0).all())
    errors = []
    for artifact in (made, fit_kmeans(seen, FitOptions(codes=16), 4, seed=0)):
        tokenizer = tokenizer_of(artifact)
        images = torch.cat(list(islice(seen.batches(5000, 50), 4)))  # positions that neither saw
        errors.append(float((tokenizer.decode(tokenizer.encode(images), (3, 3)) - images).square().mean()))
    assert errors[0] < 0.9 * errors[1]


def test_frequencies_are_those_of_the_views() -> None:
    seen = views(images=60)
    made = fit_dvae(seen, TINY, 4, seed=0)
    images = torch.cat(list(islice(seen.batches(0, 60), 1)))
    counts = torch.bincount(tokenizer_of(made).encode(images).flatten(), minlength=16)
    torch.testing.assert_close(made.tensors["frequencies"], counts / counts.sum())


def test_what_cannot_be_fitted_is_told() -> None:
    with pytest.raises(TokenizerError, match=r"patches are different, too few for 5,000 codes"):
        fit_dvae(views(images=5), replace(TINY, codes=5000), 4, seed=0)
    with pytest.raises(TokenizerError, match=r"give a lower lr than"):
        fit_dvae(views(images=60), replace(TINY, lr=1e5), 4, seed=0)
    with pytest.raises(ConfigError, match="steps is a value of dvae tokenizers"):
        FitOptions(steps=5)


def test_steps_see_about_as_many_patches_whatever_their_size() -> None:
    assert [images_of_step((28, 28), patch) for patch in (7, 4, 1)] == [128, 41, 4]


def test_the_rate_begins_and_ends_low() -> None:
    schedule = Schedule(1000, 0.5)
    rates = [schedule.lr_at(step) for step in range(1000)]
    assert rates[0] == 0.01
    assert max(rates) == pytest.approx(0.5, rel=0.02)
    assert rates[-1] < 1e-5
    assert not schedule.begins_anew(850)


def test_codes_become_the_means_of_their_rows() -> None:
    centers = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    codes = MovingCodes(centers + 1, seed=0)
    rows = (centers[:, None] + torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(0))).flatten(0, 1)
    for _ in range(600):
        chosen = codes.follow(rows, begin_anew=False)
    torch.testing.assert_close(codes.vectors, rows.view(2, 50, 2).mean(1), atol=0.02, rtol=0)
    torch.testing.assert_close(chosen[::50], codes.vectors, atol=0.01, rtol=0)


def test_a_code_that_nobody_chooses_begins_anew_where_codes_are_far() -> None:
    rows = torch.cat([torch.zeros(60, 2), torch.full((4, 2), 5.0)])
    for begin_anew in (False, True):
        codes = MovingCodes(torch.tensor([[0.0, 0.0], [100.0, 0.0]]), seed=0)
        for _ in range(10):
            codes.follow(rows, begin_anew)
        torch.testing.assert_close(codes.vectors[1], torch.tensor([5.0, 5.0] if begin_anew else [100.0, 0.0]))
