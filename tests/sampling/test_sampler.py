"""Sampled images: as a plain loop makes them, the same whatever else is asked for, and true to what is known."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nextpatch.core.random import Stream, rng_at
from nextpatch.data.views import to_model_input, to_pixels
from nextpatch.model.aim import AIM
from nextpatch.model.attention import attention_mask
from nextpatch.model.heads.distribution import Draw
from nextpatch.model.heads.head import Head
from nextpatch.model.heads.noise import Noise
from nextpatch.model.heads.transformer import TransformerHead
from nextpatch.model.orders import order_of
from nextpatch.objective.generate import Generate
from nextpatch.objective.generate_draws import KNOWN, LABEL, ORDER
from nextpatch.objective.objective import Draws
from nextpatch.patches import patchify, unpatchify
from nextpatch.sampling.error import SamplingError
from nextpatch.sampling.known import KnownPixels, beginning_of, seen_too_late
from nextpatch.sampling.sampler import Sampler
from sampled import MEAN, SIZE, STD, coded, generator_of, images_of, known_pixels, sampler_of


@torch.no_grad()
def plain(model: AIM, number: int, label: int, known: KnownPixels, guidance: float = 1.0) -> Tensor:
    """One image, everything computed anew for each patch: no cache, no batch, no rows."""
    cfg, words = model.cfg, rng_at(1, Stream.SAMPLE, number).bit_generator.random_raw(13)
    pixels = to_model_input(known.images, MEAN, STD)
    patches, there = patchify(pixels, 2)[0], patchify(known.mask.byte(), 2)[0].bool().all(dim=1)
    if cfg.draws_order:
        own = words[1:].tolist() if cfg.order == "any" else range(12)
        order = torch.tensor(sorted(range(12), key=lambda place: (not there[place], own[place])))
        first = int(there.sum())
    else:
        fixed = order_of(cfg)
        order = torch.arange(12) if fixed is None else fixed
        first = int(there[order].int().cumprod(dim=0).sum())
    low, high = ((end - torch.tensor(MEAN)) / torch.tensor(STD) for end in (0.0, 1.0))
    for turn in range(first, 12):
        place = order[turn]
        if there[place]:
            continue
        conditions = []
        for told in (label, -1):
            tokens = [model.start_tokens(torch.tensor([told]), 1, order[:1])]
            if turn:
                before = order[:turn]
                tokens.append(model.patch_tokens(patches[before][None], before[None], order[None, 1 : turn + 1]))
            mode = "causal" if cfg.attention == "causal" else "prefix"
            mask = attention_mask(mode, torch.tensor([first + 1]), turn + 1, torch.device("cpu"))
            features = model.trunk(torch.cat(tokens, dim=1), mask)["post_trunk_norm"][:, -1]
            conditions.append(model.condition(features, place[None]))
        noise = Noise(torch.tensor([int(words[:1].view(np.int64)[0])]), place[None])
        drawn = model.head.sample(conditions[0], noise, Draw(steps=3, guidance=guidance), conditions[1])
        patches[place] = drawn[0].clamp(low.repeat(4), high.repeat(4))
    return to_pixels(unpatchify(patches[None], cfg.grid, 2), MEAN, STD)[0]


@pytest.mark.parametrize(
    ("order", "attention"),
    [*product(["raster", "spiral", "random", "any"], ["prefix", "causal"]), ("known_first", "prefix")],
)
def test_images_are_those_of_a_plain_loop(order: str, attention: str) -> None:
    model = generator_of(order=order, order_seed=3 if order == "random" else 0, attention=attention)
    known = known_pixels(4)
    known.mask[1, :, :2] = True  # the first row of patches
    known.mask[2, :, 4:, 2:] = True  # a part of the last one
    known.mask[3, :, :4, :6] = True
    found = images_of(sampler_of(model, guidance=1.7), [0, 1, 5, 17], [0, 2, 1, -1], known)
    for at, (number, label) in enumerate(zip([0, 1, 5, 17], [0, 2, 1, -1], strict=True)):
        wanted = plain(model, number, label, known.of([at]), guidance=1.7)
        assert (found[at] - wanted * 255).abs().max() < 0.501  # the rounding to 8 bits


def test_cached_patches_are_those_recomputed_to_the_fifth_digit() -> None:
    """The same without the rounding, of a batch of its own size."""
    model = generator_of()
    sampler = sampler_of(model, guidance=1.7)
    found = sampler._images(1, list(range(16)), [0, 1, 2, 0] * 4, None, 0, None)
    wanted = [plain(model, number, [0, 1, 2, 0][number % 4], known_pixels(1), guidance=1.7) for number in (0, 1, 6, 15)]
    torch.testing.assert_close(to_pixels(found[[0, 1, 6, 15]], MEAN, STD), torch.stack(wanted), rtol=0, atol=1e-5)


@pytest.mark.parametrize("head", ["flow", "diffusion", "density", "codes"])
def test_an_image_is_the_same_to_the_last_bit_whatever_else_is_asked_for(head: str, tmp_path: Path) -> None:
    model = coded(tmp_path) if head == "codes" else generator_of(head)
    sampler = sampler_of(model)
    eight = images_of(sampler, list(range(8)), [0, 1, 2, 0, 1, 2, 0, 1])
    assert len({image.numpy().tobytes() for image in eight}) == 8
    assert torch.equal(images_of(sampler, [3], [0])[0], eight[3])
    assert torch.equal(images_of(sampler, [6, 0, 7], [0, 0, 1]), eight[[6, 0, 7]])
    assert torch.equal(images_of(sampler, [3, 20, 3, 35], [0, 0, 0, 0])[[0, 2]], eight[[3, 3]])
    if head in ("flow", "diffusion"):  # another size of batches rounds differently: a code may then be another one
        other = images_of(sampler_of(model, batch_size=3), list(range(8)), [0, 1, 2, 0, 1, 2, 0, 1])
        assert (other.int() - eight.int()).abs().max() <= 1


def test_what_is_known_comes_back_and_is_seen() -> None:
    model, known = generator_of(order="any"), known_pixels(2)
    known.mask[0, :, 4:] = True
    known.mask[1, :, 1:4, 3:5] = True  # cuts patches
    found = images_of(sampler_of(model), [0, 1], known=known)
    assert torch.equal(found.where(known.mask, 0), known.images.where(known.mask, 0))
    other = KnownPixels(known.images.clone(), known.mask)
    other.images[0, :, 5, 7] ^= 255  # the last pixel
    other.images[1, :, 3, 4] ^= 255
    changed = (images_of(sampler_of(model), [0, 1], known=other) != found).any(dim=1)
    assert changed[0, 0, 0], "the first patch of the raster sees a known one behind it"
    assert changed[1, 2:4, 4:6].sum() > 1, "a patch is drawn with its known pixels in sight"
    hidden = KnownPixels(known.images.where(known.mask, 77), known.mask)
    assert torch.equal(images_of(sampler_of(model), [0, 1], known=hidden), found), "pixels outside the mask count"


def test_all_and_nothing_can_be_known() -> None:
    model, known = generator_of(), known_pixels(2)
    nothing = images_of(sampler_of(model), [0, 1], known=known)
    assert torch.equal(nothing, images_of(sampler_of(model), [0, 1]))
    known.mask[:] = True
    assert torch.equal(images_of(sampler_of(model), [0, 1], known=known), known.images)


@pytest.mark.parametrize("head", ["flow", "diffusion", "density"])
def test_an_image_does_not_depend_on_what_is_known_of_others(head: str) -> None:
    sampler, known = sampler_of(generator_of(head)), known_pixels(2)
    alone = images_of(sampler, [0])
    known.mask[1, :, 1:4, 3:5] = True  # cuts patches
    assert torch.equal(images_of(sampler, [0, 1], known=known)[0], alone[0])


def test_a_fixed_order_is_blind_to_what_comes_after_and_says_so() -> None:
    model, known = generator_of(), known_pixels(1)
    known.mask[:, :, 2:4, :4] = True
    assert seen_too_late(model.cfg, known.mask) == 2
    assert seen_too_late(generator_of(order="any").cfg, known.mask) == 0
    free = images_of(sampler_of(model), [0])
    found = images_of(sampler_of(model), [0], known=known)
    assert torch.equal(found[:, :, :2], free[:, :, :2]), "what comes before the known patches does not see them"
    assert not torch.equal(found[:, :, 4:], free[:, :, 4:])
    known.mask[:] = False
    known.mask[:, :, :3] = True
    assert seen_too_late(model.cfg, known.mask) == 4  # the second row of patches is cut
    known.mask[:, :, 2] = False
    assert seen_too_late(model.cfg, known.mask) == 0


def test_what_is_fed_back_lies_in_the_range_of_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = generator_of(), []
    tokens = AIM.patch_tokens

    def spied(self: AIM, patches: Tensor, *places: Tensor) -> Tensor:
        seen.append(patches)
        return tokens(self, patches, *places)

    monkeypatch.setattr(AIM, "patch_tokens", spied)
    images = images_of(sampler_of(model, temperature=50.0), [0, 1])
    assert images.min() == 0
    assert images.max() == 255
    pixels = torch.cat(seen, dim=1) * torch.tensor(STD).repeat(4) + torch.tensor(MEAN).repeat(4)
    assert pixels.shape[1] == 11
    assert pixels.min() > -1e-6
    assert pixels.max() < 1 + 1e-6


def test_guidance_leads_towards_the_class() -> None:
    model = generator_of()
    cold, warm = (
        images_of(sampler_of(model), [0, 1], [0, 2]),
        images_of(sampler_of(model, guidance=3.0), [0, 1], [0, 2]),
    )
    assert not torch.equal(cold, warm)
    assert torch.equal(images_of(sampler_of(model, guidance=3.0), [1, 2], [2, -1])[0], warm[1])
    rising = images_of(sampler_of(model, guidance=3.0, guidance_schedule="rising"), [0], [0])
    assert not torch.equal(rising[0], warm[0])
    config = sampler_of(model, guidance=3.0, guidance_schedule="rising").config
    assert [config.guidance_at(turn, 4) for turn in range(4)] == [1.5, 2.0, 2.5, 3.0]


def test_the_expected_value_is_the_mean_of_samples() -> None:
    model, known = generator_of(), known_pixels(2)
    known.mask[:, :, :2] = True
    ten = KnownPixels(known.images[[0] * 5 + [1] * 5], known.mask[[0] * 5 + [1] * 5])
    every = images_of(sampler_of(model, batch_size=4), list(range(10)), [1] * 5 + [2] * 5, ten).double()
    found = images_of(sampler_of(model, batch_size=4, average=5), [0, 1], [1, 2], known)
    assert (found - torch.stack([every[:5].mean(dim=0), every[5:].mean(dim=0)])).abs().max() <= 1
    assert torch.equal(found.where(known.mask, 0), known.images.where(known.mask, 0))


@pytest.mark.parametrize(
    ("config", "labels", "words"),
    [
        ({}, [3], "no class 3; these weights know 3"),
        ({"guidance": 2.0}, None, "none is asked for; give a label"),
    ],
)
def test_labels_that_do_not_fit_are_refused(config: dict[str, float], labels: list[int] | None, words: str) -> None:
    with pytest.raises(SamplingError, match=words):
        images_of(sampler_of(generator_of(), **config), [0], labels)


@pytest.mark.parametrize(("config", "labels"), [({}, [1]), ({"guidance": 2.0}, None)])
def test_a_model_without_classes_takes_no_label(config: dict[str, float], labels: list[int] | None) -> None:
    with pytest.raises(SamplingError, match="know no classes"):
        images_of(sampler_of(generator_of(classes=0), **config), [0], labels)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"head": "mlp", "classes": 0}, "normalized, without each patch's mean .* pretrain IMAGES --model.head flow"),
        ({"head": "mlp", "classes": 0, "objective": "masked"}, "hidden patches from the others"),
    ],
)
def test_weights_that_cannot_sample_say_why_and_what_could(values: dict[str, object], words: str) -> None:
    with pytest.raises(SamplingError, match=words):
        Sampler(generator_of(**values), MEAN, STD)


@torch.no_grad()
@pytest.mark.parametrize("order", ["raster", "any"])
@pytest.mark.parametrize("attention", ["prefix", "causal"])
def test_a_head_with_attention_keeps_keys_and_values_of_its_own(order: str, attention: str) -> None:
    """Its patches, which are no draws, are those that whole sequences give, everything computed anew."""
    model = generator_of("transformer", objective="generate", target="pixels", order=order, attention=attention)
    known, labels = known_pixels(3), [0, 2, 1]
    known.mask[1:, :, :2] = True  # the first row of patches
    sampler, objective = sampler_of(model), Generate(model.cfg)
    found = images_of(sampler, [0, 1, 2], labels, known)
    pixels = to_model_input(known.images, MEAN, STD)
    words = [rng_at(1, Stream.SAMPLE, number).bit_generator.random_raw(13)[1:] for number in range(3)]
    start = beginning_of(model.cfg, pixels, known.mask, words)
    patches = start.patches.clone()
    for image, first in enumerate([0, 4, 4]):
        given = {KNOWN: torch.tensor([first]), LABEL: torch.tensor([labels[image]])}
        draws = Draws({**given, **({ORDER: start.order[image : image + 1]} if order == "any" else {})})
        for turn in range(first, 12):
            outputs = objective.predict(model, unpatchify(patches[image : image + 1], (3, 4), 2), draws)
            patches[image, start.order[image, turn]] = sampler._clamped(outputs[:, turn])[0]
    wanted = to_pixels(unpatchify(patches, (3, 4), 2), MEAN, STD)
    assert (found - wanted * 255).abs().max() < 0.501  # the rounding to 8 bits


def test_a_head_that_keeps_nothing_of_whole_sequences_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TransformerHead, "cached", staticmethod(Head.cached))
    with pytest.raises(SamplingError, match="needs whole sequences and keeps nothing"):
        sampler_of(generator_of("transformer", objective="generate", target="pixels"))


def test_memory_is_told_by_formula() -> None:
    model = generator_of()
    assert sampler_of(model).cache_bytes() == 2 * 2 * 16 * 12 * 16 * 4  # both, blocks, images, patches, width, bytes
    with_head = generator_of("transformer", objective="generate", target="pixels")
    assert sampler_of(with_head).cache_bytes() == 2 * 2 * 16 * 12 * (16 + 24) * 4
    assert sampler_of(model, guidance=2.0, batch_size=5).cache_bytes() == 2 * 2 * 10 * 12 * 16 * 4


def test_squared_error_has_no_chance(tmp_path: Path) -> None:
    model = generator_of("mlp", objective="generate", target="pixels")
    found = images_of(sampler_of(model), [0, 1], [1, 1])
    assert torch.equal(found[0], found[1])
    assert tuple(found.shape[2:]) == SIZE
