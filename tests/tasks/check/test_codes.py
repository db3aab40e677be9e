"""Targets that are codes, each of which may depend on neighboring patches: codes are replaced, not pixels."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextpatch.core.errors import UserError
from nextpatch.objective.next_patch import PREFIX_LEN, with_prefix
from nextpatch.objective.objective import Draws
from nextpatch.patches import patchify
from nextpatch.tasks.check.codes import prove_codes
from nextpatch.tasks.check.foreign import check_foreign, foreign_subject, next_patch
from nextpatch.tasks.check.subject import Codes
from nextpatch.tasks.check.told import Verdict

P, ROWS, COLUMNS, CODES = 2, 3, 4, 7
K = ROWS * COLUMNS
ONE = torch.tensor([1])
CLAIM = "the codes in the loss are those of the images given"


def images(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 3, ROWS * P, COLUMNS * P, generator=generator, dtype=torch.float64)


class Tokenizer(nn.Module):
    """A code for each patch from the patch and its eight neighbors, as a discrete autoencoder's."""

    def __init__(self, local: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.kernel = torch.randn(CODES, 3, 3 * P, 3 * P, generator=generator, dtype=torch.float64)
        self.local = local

    def forward(self, images: Tensor) -> Tensor:
        kernel = self.kernel.clone()
        kernel[..., P : 2 * P, P : 2 * P] *= 1.5
        if self.local:
            kernel = F.pad(kernel[..., P : 2 * P, P : 2 * P], (P, P, P, P))
        return F.conv2d(images, kernel, stride=P, padding=P).argmax(dim=1)


class Step(nn.Module):
    """Next-patch prediction of codes, with what others can get wrong in it."""

    shift = 1

    def __init__(self, local: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.layers = nn.ModuleList(nn.Linear(P * P * 3 if i == 0 else 24, 72).double() for i in range(2))
            self.head = nn.Linear(24, CODES).double()
        self.tokenizer = Tokenizer(local)

    def codes(self, images: Tensor) -> Tensor:
        return self.tokenizer(images).flatten(1)

    def forward(self, images: Tensor, draws: Draws) -> Tensor:
        prefix_len, x, key = draws[PREFIX_LEN][:, None], patchify(images, P), torch.arange(K)
        mask = (key <= key[:, None]) | (key < prefix_len[..., None])
        for layer in self.layers:
            q, k, v = layer(x).chunk(3, dim=-1)
            x = v + F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        logits = self.head(x)[:, : K - self.shift].transpose(1, 2)
        losses = F.cross_entropy(logits, self.codes(images)[:, self.shift :], reduction="none")
        scored = torch.arange(self.shift, K) >= prefix_len
        return (losses * scored).sum() / scored.sum()


class SamePlace(Step):
    shift = 0


class Flipped(Step):
    """The tokenizer gets its own augmentation."""

    def codes(self, images: Tensor) -> Tensor:
        return super().codes(images.flip(3))


class Cropped(Step):
    def codes(self, images: Tensor) -> Tensor:
        return super().codes(images.roll(1, dims=2))


class Kept(Step):
    """The codes of a view that was tokenized once."""

    def codes(self, images: Tensor) -> Tensor:
        return super().codes(globals()["images"](9)[: len(images)])


class ByColumns(Step):
    """The grid of codes is flattened the wrong way."""

    def __init__(self) -> None:
        super().__init__()
        forward = self.tokenizer.forward
        self.tokenizer.forward = lambda images: forward(images).transpose(1, 2).flatten(1)  # type: ignore[method-assign]

    def codes(self, images: Tensor) -> Tensor:
        return self.tokenizer(images)


def proved(step: Step, with_tokenizer: bool = True) -> list[Verdict]:
    return check_foreign(step, images(), P, step.head, tokenizer=step.tokenizer if with_tokenizer else None)


def failed(verdicts: list[Verdict]) -> str:
    return "\n".join(f"{verdict.claim}: {verdict.reason}" for verdict in verdicts if not verdict.holds)


def test_codes_that_see_their_neighbors_pass_all_proofs() -> None:
    verdicts = proved(Step())
    assert failed(verdicts) == ""
    assert [v.claim for v in verdicts][5:7] == [CLAIM, "the code of a patch depends on that patch more than on others"]


def test_without_a_tokenizer_only_codes_of_single_patches_can_be_examined_and_it_is_said() -> None:
    assert failed(proved(Step(local=True), with_tokenizer=False)) == ""
    assert "name what gives them: codes are replaced then" in failed(proved(Step(), with_tokenizer=False))


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (SamePlace(), "output 1 is compared with patch 1, which it sees: the one-patch shift is missing"),
        (Flipped(), f"{CLAIM}: with a prefix of 1 patch, image 0 has the loss .* the codes are those of another view"),
        (Cropped(), "the codes are those of another view"),
        (Kept(), "it is the same for other images too, so the codes are kept from elsewhere"),
        (ByColumns(), "the codes follow patches that are elsewhere: columns are read as rows"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Step) else "",
)
def test_a_broken_step_fails_with_the_reason_and_with_no_other(step: Step, reason: str) -> None:
    text = failed(proved(step))
    assert re.search(reason, text), text
    others = ["shift is missing", "another view", "kept from elsewhere", "are elsewhere", "mask", "permuted"]
    assert [words for words in others if words in text] == [words for words in others if words in reason]


class Numb(Tokenizer):
    """The same codes for every image."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(torch.ones_like(images))


def test_a_tokenizer_that_tells_nothing_is_named() -> None:
    step = Step()
    step.tokenizer = Numb()
    assert "all 4 example images have the same codes" in failed(proved(step))
    assert "no code depends on its own patch" in failed(proved(step))


def test_a_local_tokenizer_is_held_to_its_patch() -> None:
    for local in (True, False):
        step = Step(local)
        subject = foreign_subject(
            step, step.head, next_patch(images(), P), images(), P, with_prefix(ONE), step.tokenizer
        )
        assert subject.codes is not None
        alone = Codes(subject.codes.encode, subject.codes.loss, local=True)
        [_, verdict] = prove_codes(subject, alone)
        assert verdict.holds is local
        assert local or "the code of patch 0 depends on patches 4, 5 too" in verdict.reason


def test_what_cannot_be_examined_is_refused_in_words() -> None:
    step = Step()
    with pytest.raises(UserError, match="give the module that predicts as head too"):
        check_foreign(step, images(), P, tokenizer=step.tokenizer)
    with pytest.raises(UserError, match="the tokenizer ran 0 times in one step; give the module that gives the codes"):
        check_foreign(step, images(), P, step.head, tokenizer=nn.Identity())
    step.codes = lambda images: step.tokenizer(F.interpolate(images, scale_factor=2)).flatten(1)[:, :K]  # type: ignore[method-assign]
    with pytest.raises(UserError, match="the tokenizer gives 48 codes for an image of 12 patches"):
        proved(step)
    with pytest.raises(UserError, match="the output of the tokenizer is not whole numbers"):
        check_foreign(step, images(), P, step.head, tokenizer=step.layers[0])
