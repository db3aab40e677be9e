"""Codes as targets: the loss is the plain one for every head, attention and order; codes are of what the model saw."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nextpatch.core.errors import ConfigError
from nextpatch.model.aim import AIM, patches_of
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.objective.next_patch import NextPatch, with_prefix
from nextpatch.objective.objective import Fill, scored_patches
from nextpatch.patches import patch_statistics
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.tokenizer.tokenizer import open_tokenizer
from tokenizers_made import of_tokens

SMALL = {"size": "nano", "embed_dim": 24, "depth": 2, "num_heads": 2, "head_width": 16, "head_depth": 2}
SHAPES = {
    "square": {"img_size": (9, 9), "patch_size": 3, "in_chans": 3},
    "wide": {"img_size": (8, 16), "patch_size": 4, "in_chans": 1},
}
PREFIX = torch.tensor([1, 7, 3])
HEADS = {"mlp": {}, "none": {"head": "none", "head_width": 0, "head_depth": 0}}


@pytest.fixture
def cfg_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda kind="kmeans", norm=False, **values: of_tokens(
        {**SMALL, **SHAPES["square"], **values}, tmp_path, monkeypatch, kind=kind, norm=norm
    )


def built(cfg: ModelConfig) -> tuple[AIM, Tensor]:
    """A model in float64 without parameters of special values, and images."""
    model = AIM(cfg)
    init_weights(model, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.double(), torch.randn(3, cfg.in_chans, *cfg.img_size, generator=generator).double()


def gradients(model: AIM, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def assert_same(ours: tuple[Tensor, dict[str, Tensor]], theirs: tuple[Tensor, dict[str, Tensor]]) -> None:
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-12, atol=0)
    for name, gradient in theirs[1].items():
        assert float((ours[1][name] - gradient).norm() / gradient.norm()) < 1e-11, name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", ["raster", "spiral", "checkerboard", "random"])
@pytest.mark.parametrize("attention", ["prefix", "causal"])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", ["kmeans", "surroundings"])
def test_the_loss_in_pieces_is_the_plain_one_with_its_gradients(
    kind: str, head: str, attention: str, order: str, shape: str, cfg_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextpatch.objective.targets.cross_entropy.PIECE", 21)  # three rows
    cfg = cfg_of(kind, attention=attention, order=order, **HEADS[head], **SHAPES[shape])
    model, images = built(cfg)
    objective, draws = NextPatch(cfg), with_prefix(PREFIX if attention == "prefix" else torch.ones(3).long())
    in_pieces = objective.loss_sum(model, images, draws)
    plain = objective.position_losses(model, images, draws).sum()
    assert_same((in_pieces.detach(), gradients(model, in_pieces)), (plain.detach(), gradients(model, plain)))


def test_a_code_is_that_of_the_next_patch_in_the_order_and_float32_whatever_computes(cfg_of: Any) -> None:
    cfg = cfg_of(order="spiral")
    images = torch.randn(2, 3, 9, 9)
    objective, codes = NextPatch(cfg), open_tokenizer(Path(cfg.tokenizer)).encode(images)
    assert torch.equal(objective.wanted(images), codes)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(objective.wanted(images.double().requires_grad_()), codes)
    draws = with_prefix(torch.tensor([1, 4]))
    sure = torch.nn.functional.one_hot(codes, 7).double() * 50
    following = sure.gather(1, objective.predicts(draws)[..., None].expand(-1, -1, 7))
    predicted = torch.cat([following, following[:, -1:]], dim=1)
    assert float(objective.compare(predicted, codes, draws).max()) < 1e-9
    assert float(objective.compare(predicted.roll(1, dims=1), codes, draws).max()) > 10


def test_an_untrained_model_knows_nothing_and_guessing_gives_the_frequencies(cfg_of: Any) -> None:
    cfg = cfg_of(img_size=(30, 30))
    model = AIM(cfg)
    init_weights(model, 0)
    images, objective = torch.randn(8, 3, 30, 30), NextPatch(cfg)
    draws = objective.draw(0, torch.arange(8))
    count = objective.scored(draws).sum()
    with torch.no_grad():
        loss = float(objective.loss_sum(model, images, draws) / count)
        guess = float(objective.position_losses(objective.baseline(), images, draws).sum() / count)
    # logits of a new layer have variance 2 h / (h + codes): half of it is on top of log(codes)
    assert abs(loss - math.log(7) - 16 / (16 + 7)) < 0.35
    codes, shares = objective.wanted(images), open_tokenizer(Path(cfg.tokenizer)).frequencies
    scored = scored_patches(objective, draws)
    assert guess == pytest.approx(float(-shares[codes[scored]].log().mean()), rel=1e-5)


@pytest.mark.parametrize("kind", ["kmeans", "surroundings"])
@pytest.mark.parametrize("order", ["raster", "spiral"])
def test_pictures_show_decoded_codes_where_patches_are_scored(kind: str, order: str, cfg_of: Any) -> None:
    cfg = cfg_of(kind, order=order)
    images, objective = torch.randn(2, 3, 9, 9), NextPatch(cfg)
    draws = with_prefix(torch.tensor([2, 5]))
    drawn, tokenizer = objective.target(images, draws), open_tokenizer(Path(cfg.tokenizer))
    scored = scored_patches(objective, draws)
    decoded = patches_of(tokenizer.decode(tokenizer.encode(images), cfg.grid), cfg)
    whole = torch.where(scored[..., None], decoded, patches_of(images, cfg))
    torch.testing.assert_close(patches_of(drawn, cfg), whole)


def test_what_the_tokenizer_leaves_out_comes_from_the_patch_or_the_fill(cfg_of: Any) -> None:
    cfg = cfg_of(norm=True)
    images, objective = 3 + 2 * torch.randn(2, 3, 9, 9), NextPatch(cfg)
    draws, scored = with_prefix(torch.tensor([1, 1])), slice(1, None)
    assert objective.words.left_out == "mean and variance"
    codes = open_tokenizer(Path(cfg.tokenizer)).encode(images)
    centers = open_tokenizer(Path(cfg.tokenizer)).centers[codes]
    mean, deviation = patch_statistics(patches_of(images, cfg))
    own = patches_of(objective.target(images, draws), cfg)
    torch.testing.assert_close(own[:, scored], (centers * deviation + mean)[:, scored])
    grey = objective.target(images, draws, Fill(torch.zeros(3), torch.ones(3)))
    torch.testing.assert_close(patches_of(grey, cfg)[:, scored], centers[:, scored])


def test_perplexity_and_accuracy(cfg_of: Any) -> None:
    goal = NextPatch(cfg_of()).goal
    logits = torch.tensor([[[2.0, 1, 0, 0, 0, 0, 0], [0, 0, 3, 0, 0, 0, 0]]])
    beside = goal.beside(logits, torch.tensor([[1, 2]]))
    assert beside["accuracy"].tolist() == [[0.0, 1.0]]
    assert goal.figures(math.log(5), {"accuracy": 0.5}) == {"perplexity": pytest.approx(5), "accuracy": 0.5}
    assert goal.figures(1e4, {})["perplexity"] == math.inf


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"tokenizer": "t.safetensors"}, "tokenizer is for model.target tokens"),
        ({"codes": 8}, "codes is for model.target tokens"),
        ({"target": "tokens", "codes": 1}, "leaves nothing to predict"),
        ({"target": "tokens", "codes": -1}, "codes"),
    ],
)
def test_values_that_do_not_belong_together_are_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        ModelConfig(**values)


def test_the_number_of_codes_must_be_known_before_anything_is_built() -> None:
    with pytest.raises(ConfigError, match="number of codes is not known"):
        _ = ModelConfig(target="tokens").outputs


def test_a_tokenizer_that_is_missing_or_another_one_is_named(cfg_of: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    cfg, images = cfg_of(), torch.randn(1, 3, 9, 9)
    model = AIM(cfg)
    init_weights(model, 0)
    alone = NextPatch(replace(cfg, tokenizer=""))
    assert alone.predict(model, images, with_prefix(torch.tensor([1]))).shape == (1, 9, 7)
    for values, reason in (
        ({"tokenizer": ""}, r"give it too: WEIGHTS\+tokenizer.safetensors"),
        ({"tokenizer": str(tmp_path / "gone.safetensors")}, "does not exist"),
        ({"tokenizer_sha256": "0" * 64}, "another tokenizer than the model was trained with"),
        ({"codes": 8, "tokenizer_sha256": ""}, "has 7 codes of patches of 3 px"),
        ({"in_chans": 1, "tokenizer_sha256": ""}, "3 channels, and the model"),
    ):
        other = NextPatch(replace(cfg, **values))
        with pytest.raises(TokenizerError, match=reason):
            other.wanted(torch.randn(1, other.cfg.in_chans, 9, 9))
        assert other.words.left_out == ""
