"""The proofs are statements about any objective: orders by sample, codes, masked patches and noise pass them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nextpatch.model.config import ModelConfig
from nextpatch.objective.next_patch import PREFIX_LEN, NextPatch
from nextpatch.objective.objective import Claims, Draws
from nextpatch.patches import patchify
from nextpatch.tasks.check.proofs import prove
from nextpatch.tasks.check.subject import Subject

P, SIDE = 2, 3
K, WIDTH = SIDE**2, 2 * P * P
CFG = ModelConfig("nano", (SIDE * P, SIDE * P), P, 2)
GENERATOR = torch.Generator().manual_seed(0)
WEIGHTS = torch.randn(4, WIDTH, WIDTH, generator=GENERATOR, dtype=torch.float64)
CODES = torch.randn(5, WIDTH, generator=GENERATOR, dtype=torch.float64)
PLACES = torch.randn(K, WIDTH, generator=GENERATOR, dtype=torch.float64)
IMAGES = torch.randn(4, 2, SIDE * P, SIDE * P, generator=GENERATOR, dtype=torch.float64)


def attended(x: Tensor, mask: Tensor) -> Tensor:
    for _ in range(2):
        q, k, v = (x @ w / WIDTH for w in WEIGHTS[:3])
        x = x + F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return x


class AnyOrder(NextPatch):
    """A permutation and a prefix length for each sample."""

    def examples(self) -> Draws:
        draws = super().examples()
        orders = [torch.randperm(K, generator=torch.Generator().manual_seed(i)) for i in range(draws.batch_size)]
        return Draws({**draws, "order": torch.stack(orders)})

    def given(self, draws: Draws) -> Tensor:
        return super().given(draws).gather(1, draws["order"].argsort(1))

    def predicts(self, draws: Draws) -> Tensor:
        return draws["order"][:, 1:]

    def may_see(self, draws: Draws) -> Tensor:
        place = draws["order"].argsort(1)[:, None]
        return (place < torch.arange(1, K)[:, None]) | self.given(draws)[:, None]


class Masked:
    """Some patches are hidden, the prediction at place i is of patch i, from all that are not hidden."""

    places = range(K)
    words = replace(
        NextPatch(CFG).words,
        target="the one at its own place",
        copying="it is of another place",
        leaking="the mask token is missing",
        inverted="the mask is inverted",
    )

    def examples(self) -> Draws:
        return Draws({"masked": torch.stack([torch.arange(K) % 3 == i for i in range(3)])})

    def scored(self, draws: Draws) -> Tensor:
        return draws["masked"]

    def given(self, draws: Draws) -> Tensor:
        return ~draws["masked"]

    def predicts(self, draws: Draws) -> Tensor:
        return torch.arange(K).expand(draws.batch_size, -1)

    def may_see(self, draws: Draws) -> Tensor:
        return ~draws["masked"][:, None].expand(-1, K, -1)

    def told(self, draws: Draws) -> list[str]:
        return [f"{n} masked patches" for n in draws["masked"].sum(1).tolist()]


def sequence(images: Tensor, draws: Draws) -> Tensor:
    patches = patchify(images, P)
    order = draws["order"] if "order" in draws else torch.arange(K).expand(len(images), -1)
    return (patches + PLACES).gather(1, order[..., None].expand_as(patches))


def next_ones(images: Tensor, draws: Draws) -> Tensor:
    key = torch.arange(K)
    mask = (key <= key[:, None]) | (key < draws[PREFIX_LEN][:, None, None])
    return attended(sequence(images, draws), mask)[:, :-1]


def masked_ones(images: Tensor, draws: Draws, token: float = 0.0) -> Tensor:
    hidden = draws["masked"][..., None]
    x = torch.where(hidden, token * patchify(images, P), patchify(images, P)) + PLACES
    return attended(x, torch.ones(K, K, dtype=torch.bool))


def target(claims: Claims, images: Tensor, draws: Draws) -> Tensor:
    patches = patchify(images, P)
    return patches.gather(1, claims.predicts(draws)[..., None].expand(-1, -1, WIDTH))


def error(predicted: Tensor, wanted: Tensor, draws: Draws) -> Tensor:
    return (predicted - wanted).square().mean(-1)


def code_error(predicted: Tensor, wanted: Tensor, draws: Draws) -> Tensor:
    """Cross-entropy of codes: nothing to differentiate by pixel."""
    code = torch.cdist(wanted, CODES.expand(len(wanted), -1, -1)).argmin(-1)
    return F.cross_entropy((predicted @ CODES.T).transpose(1, 2), code, reduction="none")


def flow_error(predicted: Tensor, wanted: Tensor, draws: Draws) -> Tensor:
    """What is predicted is a condition: the head sees the noised target too, and may."""
    seeds = next(iter(draws.values())).reshape(len(wanted), -1).sum(dim=1).tolist()
    each = (
        torch.randn(wanted.shape[1:], generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in seeds
    )
    noise = torch.stack(list(each))
    noised = 0.3 * noise + 0.7 * wanted
    return (torch.tanh(predicted + noised @ WEIGHTS[3]) - (wanted - noise)).square().mean(-1)


def examined(claims: Claims, predict: Callable[..., Tensor], losses: Callable[..., Tensor]) -> list[Verdict]:
    def loss(predicted: Tensor, images: Tensor, draws: Draws) -> Tensor:
        scored = claims.scored(draws)
        return (losses(predicted, target(claims, images, draws), draws) * scored).sum() / scored.sum()

    return prove(Subject(predict, loss, claims, IMAGES, P, claims.examples()))


@pytest.mark.parametrize("losses", [error, code_error, flow_error], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("claims", "predict"),
    [(NextPatch(CFG), next_ones), (AnyOrder(CFG), next_ones), (Masked(), masked_ones)],
    ids=["next", "any order", "masked"],
)
def test_every_kind_of_objective_passes(claims: Claims, predict: Callable[..., Tensor], losses: Callable) -> None:
    assert isinstance(claims, Claims)
    assert [verdict for verdict in examined(claims, predict, losses) if not verdict.holds] == []


@pytest.mark.parametrize("losses", [error, code_error, flow_error], ids=lambda f: f.__name__)
def test_a_missing_mask_token_is_named_in_the_words_of_the_objective(losses: Callable) -> None:
    verdicts = examined(Masked(), lambda images, draws: masked_ones(images, draws, token=1.0), losses)
    assert any("the mask token is missing" in verdict.reason for verdict in verdicts)
    assert not any("shift" in verdict.reason for verdict in verdicts)


def one_further(losses: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Each output against the patch after its own."""
    return lambda predicted, wanted, draws: losses(predicted, wanted.roll(-1, 1), draws)


@pytest.mark.parametrize("losses", [error, code_error, flow_error], ids=lambda f: f.__name__)
def test_faults_of_masked_prediction_are_told_apart(losses: Callable[..., Tensor]) -> None:
    def swapped(images: Tensor, draws: Draws) -> Tensor:
        return masked_ones(images, Draws({"masked": ~draws["masked"]}))

    def all_scored(predicted: Tensor, images: Tensor, draws: Draws) -> Tensor:
        return losses(predicted, target(Masked(), images, draws), draws).mean()

    subject = Subject(masked_ones, all_scored, Masked(), IMAGES, P, Masked().examples())
    texts = {
        "the mask token is missing": examined(Masked(), lambda x, draws: masked_ones(x, draws, token=1.0), losses),
        "the mask is inverted": examined(Masked(), swapped, losses),
        "it is of another place": examined(Masked(), masked_ones, one_further(losses)),
        "it should not be scored": prove(subject),
    }
    for words, verdicts in texts.items():
        reasons = " ".join(verdict.reason for verdict in verdicts)
        assert [other for other in texts if other in reasons] == [words], reasons


def test_another_order_than_the_claimed_is_found() -> None:
    verdicts = examined(
        AnyOrder(CFG), lambda images, draws: next_ones(images, Draws({PREFIX_LEN: draws[PREFIX_LEN]})), error
    )
    assert any("only the loss was permuted" in verdict.reason for verdict in verdicts)
