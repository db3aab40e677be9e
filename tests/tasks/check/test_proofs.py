"""The proofs hold on our model and fail, for the right reason, on objectives found in other libraries."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from losses import targets
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.objective.next_patch import PREFIX_LEN, NextPatch, with_prefix
from nextpatch.objective.objective import Draws
from nextpatch.objective.targets.pixels import squared_error
from nextpatch.patches import normalize_patches, patchify
from nextpatch.tasks.check.proofs import prove
from nextpatch.tasks.check.subject import Subject, subject_of
from nextpatch.tasks.check.training import prove_training
from nextpatch.tasks.check.verdict import check_objective

P, ROWS, COLUMNS = 3, 3, 4
K = ROWS * COLUMNS
SHAPE = {"embed_dim": 16, "depth": 2, "num_heads": 2, "head_width": 16, "head_depth": 1}


def model(**values: object) -> AIM:
    built = AIM(ModelConfig(img_size=(ROWS * P, COLUMNS * P), patch_size=P, in_chans=2, **SHAPE, **values))
    init_weights(built, 1)
    return built.double()


class Ordered(NextPatch):
    """The paper's claims along another order of the patches."""

    def __init__(self, cfg: ModelConfig, order: Tensor) -> None:
        super().__init__(cfg)
        self.order = order

    def given(self, draws: Draws) -> Tensor:
        return super().given(draws)[:, self.order.argsort()]

    def predicts(self, draws: Draws) -> Tensor:
        return self.order[super().predicts(draws)]

    def may_see(self, draws: Draws) -> Tensor:
        place = self.order.argsort()
        return (place < place[self.order[1:]][:, None]) | self.given(draws)[:, None]


class Foreign:
    """A small predictor of another make, whose mask, order and loss can each be got wrong."""

    def __init__(self, order: Tensor | None = None) -> None:
        self.order = torch.arange(K) if order is None else order
        generator = torch.Generator().manual_seed(0)
        width = P * P * 2
        self.qkv = torch.randn(3, width, width, generator=generator, dtype=torch.float64)
        self.images = torch.randn(3, 2, ROWS * P, COLUMNS * P, generator=generator, dtype=torch.float64)

    def allowed(self, prefix_len: Tensor) -> Tensor:
        query, key = torch.arange(K)[:, None], torch.arange(K)
        return (key <= query) | (key < prefix_len[:, None, None])

    def sequence(self, images: Tensor) -> Tensor:
        return patchify(images, P)[:, self.order]

    def predict(self, images: Tensor, draws: Draws) -> Tensor:
        prefix_len = draws[PREFIX_LEN]
        x = self.sequence(images)
        for _ in range(2):
            q, k, v = (x @ w / x.shape[-1] for w in self.qkv)
            x = x + F.scaled_dot_product_attention(q, k, v, attn_mask=self.allowed(prefix_len))
        return x

    def shifted_error(self, predictions: Tensor, images: Tensor) -> Tensor:
        target = normalize_patches(self.sequence(images))
        return (predictions[:, :-1] - target[:, 1:]).square().mean(-1)

    def loss(self, predictions: Tensor, images: Tensor, draws: Draws) -> Tensor:
        scored = torch.arange(1, K) >= draws[PREFIX_LEN][:, None]
        return (self.shifted_error(predictions, images) * scored).sum() / scored.sum()

    def subject(self) -> Subject:
        claims = Ordered(model().cfg, self.order)
        return Subject(self.predict, self.loss, claims, self.images, P, claims.examples())


def spiral() -> Tensor:
    return torch.randperm(K, generator=torch.Generator().manual_seed(5))


class CopyTask(Foreign):
    def shifted_error(self, predictions: Tensor, images: Tensor) -> Tensor:
        return (predictions[:, 1:] - normalize_patches(self.sequence(images))[:, 1:]).square().mean(-1)


class InvertedMask(Foreign):
    def allowed(self, prefix_len: Tensor) -> Tensor:
        inverted = ~super().allowed(prefix_len)
        inverted[:, -1, -1] = True  # a query with no key at all would be NaN
        return inverted


class OnlyLossPermuted(Foreign):
    def sequence(self, images: Tensor) -> Tensor:
        return patchify(images, P)

    def shifted_error(self, predictions: Tensor, images: Tensor) -> Tensor:
        target = normalize_patches(self.sequence(images))
        return (predictions[:, self.order[:-1]] - target[:, self.order[1:]]).square().mean(-1)


class InverseOrder(Foreign):
    """The order's inverse in its place: perm[i] taken for the turn of patch i."""

    def sequence(self, images: Tensor) -> Tensor:
        return patchify(images, P)[:, self.order.argsort()]


class PrefixScored(Foreign):
    def loss(self, predictions: Tensor, images: Tensor, draws: Draws) -> Tensor:
        return self.shifted_error(predictions, images).mean()


class MeanOfMeans(Foreign):
    def loss(self, predictions: Tensor, images: Tensor, draws: Draws) -> Tensor:
        scored = torch.arange(1, K) >= draws[PREFIX_LEN][:, None]
        return ((self.shifted_error(predictions, images) * scored).sum(1) / scored.sum(1)).mean()


class NoEps(Foreign):
    def shifted_error(self, predictions: Tensor, images: Tensor) -> Tensor:
        target = normalize_patches(self.sequence(images), eps=0.0)
        return (predictions[:, :-1] - target[:, 1:]).square().mean(-1)


class CausalInPrefix(Foreign):
    def allowed(self, prefix_len: Tensor) -> Tensor:
        return super().allowed(torch.ones_like(prefix_len))


class OneStepAhead(Foreign):
    def allowed(self, prefix_len: Tensor) -> Tensor:
        return super().allowed(prefix_len) | (torch.arange(K) == torch.arange(K)[:, None] + 1)


class Forgetful(Foreign):
    def allowed(self, prefix_len: Tensor) -> Tensor:
        near = torch.arange(K) >= torch.arange(K)[:, None] - 1
        return super().allowed(prefix_len) & (near | (torch.arange(K) < prefix_len[:, None, None]))


class NotANumber(Foreign):
    def shifted_error(self, predictions: Tensor, images: Tensor) -> Tensor:
        return super().shifted_error(predictions, images) * float("nan")


class Frozen(Foreign):
    def loss(self, predictions: Tensor, images: Tensor, draws: Draws) -> Tensor:
        return predictions.square().mean()


def failed(verdicts: list[Verdict]) -> str:
    return "\n".join(f"{verdict.claim}: {verdict.reason}" for verdict in verdicts if not verdict.holds)


@pytest.mark.parametrize("values", [{}, {"target": "pixels"}, {"attention": "causal"}])
def test_all_hold_on_our_model(values: dict[str, object]) -> None:
    ours = model(**values)
    assert failed(check_objective(NextPatch(ours.cfg), ours)) == ""


@pytest.mark.parametrize("order", [None, spiral()], ids=["raster", "permuted"])
def test_all_hold_on_a_correct_objective_of_another_make(order: Tensor | None) -> None:
    assert failed(prove(Foreign(order).subject())) == ""


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (CopyTask(), "output 0 is compared with patch 0|one-patch shift is missing and the model learns to copy"),
        (InvertedMask(), "the attention mask is inverted"),
        (
            OnlyLossPermuted(spiral()),
            r"output \d+ is compared with patch \d+ and sees patches 0, 1, 2.*, its target among them: the loss "
            r"follows the order, but the sequence is not permuted.* only the loss was permuted, and targets leak",
        ),
        (
            InverseOrder(spiral()),
            r"output 0 is compared with patch \d+, not with patch \d+: the sequence follows the inverse",
        ),
        (PrefixScored(), "scored although given"),
        (MeanOfMeans(), "do not weigh what they should"),
        (NoEps(), "not finite: is there an eps"),
        (CausalInPrefix(), "output 0, which is not scored, does not see patch"),
        (OneStepAhead(), "lets it look ahead"),
        (Forgetful(), "does not see patch"),
        (Frozen(), "nothing is learned"),
        (NotANumber(), "not a finite number"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Foreign) else "",
)
def test_a_broken_objective_fails_with_the_reason(broken: Foreign, reason: str) -> None:
    assert re.search(reason, failed(prove(broken.subject())))


def test_the_faults_found_elsewhere_are_told_apart() -> None:
    words = {"copy": "learns to copy", "mask": "mask is inverted", "loss": "only the loss was permuted"}
    words |= {"inverse": "follows the inverse of the order"}
    all_broken = {"copy": CopyTask(), "mask": InvertedMask(), "loss": OnlyLossPermuted(spiral())}
    for name, broken in (all_broken | {"inverse": InverseOrder(spiral())}).items():
        text = failed(prove(broken.subject()))
        assert [other for other, phrase in words.items() if phrase in text] == [name]


class SkewedTraining(NextPatch):
    """Training that scales the loss of what it packs: another number than the plain loss."""

    def loss_sum(self, model: AIM, images: Tensor, draws: Draws) -> Tensor:
        return super().loss_sum(model, images, draws) * 1.0001


class BatchMixing(NextPatch):
    """Training whose images influence one another."""

    def loss_sum(self, model: AIM, images: Tensor, draws: Draws) -> Tensor:
        return super().loss_sum(model, images - images.mean(), draws)


@pytest.mark.parametrize(
    ("kind", "reason"), [(SkewedTraining, "losses differ by 1.0e-04"), (BatchMixing, "losses differ")]
)
def test_a_training_path_that_differs_from_the_plain_loss_fails(kind: type[NextPatch], reason: str) -> None:
    ours = model()
    objective = kind(ours.cfg)
    verdicts = prove_training(objective, ours, subject_of(objective, ours).images + 1)
    assert reason in failed(verdicts)
    assert (not verdicts[1].holds) == (kind is BatchMixing)


class BiasPulled(NextPatch):
    """Training with the right loss and a wrong gradient."""

    def loss_sum(self, model: AIM, images: Tensor, draws: Draws) -> Tensor:
        extra = model.head.pred.bias.sum()
        return super().loss_sum(model, images, draws) + extra - extra.detach()


def test_a_wrong_gradient_is_named() -> None:
    ours = model()
    objective = BiasPulled(ours.cfg)
    verdicts = prove_training(objective, ours, subject_of(objective, ours).images)
    assert "the gradients of head.pred.bias differ" in verdicts[0].reason


class CopyingOurs(NextPatch):
    """The fault of lightly 1.6.0: output i against patch i."""

    def score(self, model: AIM, predicted: Tensor, images: Tensor, draws: Draws) -> Tensor:
        wanted = targets(patchify(images, P), self.cfg.target)[:, 1:]
        return squared_error(predicted[:, 1:], wanted).mean(dim=-1) * self.scored(draws)


class InvertedOurs(NextPatch):
    """The fault of stable-pretraining 0.1.8: True means hidden to one side and visible to the other."""

    def _mask(self, draws: Draws, length: int, device: torch.device) -> Tensor:
        mask = super()._mask(draws, length, device)
        inverted = torch.zeros_like(mask).masked_fill(mask == 0, float("-inf"))
        inverted[..., -1, -1] = 0.0  # a query with no key at all would be NaN
        return inverted


class LossPermutedOurs(Ordered):
    """The order of the loss alone: what the model sees follows the raster."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__(cfg, spiral())

    def score(self, model: AIM, predicted: Tensor, images: Tensor, draws: Draws) -> Tensor:
        wanted = targets(patchify(images, P), self.cfg.target)[:, self.order[1:]]
        return squared_error(predicted[:, self.order[:-1]], wanted).mean(dim=-1) * self.scored(draws)


class PrefixScoredOurs(NextPatch):
    """A loss on everything."""

    def scored(self, draws: Draws) -> Tensor:
        return torch.ones(draws.batch_size, K - 1, dtype=torch.bool)


class LooksAtItsTarget(NextPatch):
    """One patch further than is said, by a mask that is off by one."""

    def _mask(self, draws: Draws, length: int, device: torch.device) -> Tensor:
        return super()._mask(with_prefix(draws[PREFIX_LEN] + 1), length, device)


OURS = {
    CopyingOurs: "the one-patch shift is missing and the model learns to copy",
    InvertedOurs: "the attention mask is inverted",
    LossPermutedOurs: "only the loss was permuted",
    PrefixScoredOurs: "scored although given",
    LooksAtItsTarget: "the attention mask lets it look ahead",
}


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_a_fault_in_our_own_objective_is_named_and_no_other(kind: type[NextPatch]) -> None:
    ours = model()
    text = failed(prove(subject_of(kind(ours.cfg), ours)))
    assert [reason for reason in OURS.values() if reason in text] == [OURS[kind]]
