"""The same proofs for objectives of other people: a training step as it is, and the module in it that predicts.

    def step(images, draws):  # their code, unchanged: from images to the loss that is minimized
        return their_model.loss(images, prefix_len=draws["prefix_len"])

    images = torch.randn(3, 3, 24, 24, dtype=torch.float64)
    for verdict in check_foreign(step, images, patch_size=4, head=their_model.head):
        print(verdict.claim, verdict.reason or "holds")

Two libraries that were found faulty so are in tests/tasks/check/test_foreign.py.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.core.errors import UserError
from nextpatch.model.config import Attention, ModelConfig
from nextpatch.objective.next_patch import NextPatch
from nextpatch.objective.objective import Claims, Draws
from nextpatch.tasks.check.losses import Step, prove_losses, run
from nextpatch.tasks.check.proofs import Verdict, prove
from nextpatch.tasks.check.subject import Subject


def check_foreign(
    step: Step,
    images: Float[Tensor, "batch channels height width"],
    patch_size: int,
    head: nn.Module | None = None,
    claims: Claims | None = None,
    draws: Draws | None = None,
) -> list[Verdict]:
    """Whether a training step of another make does what is claimed of it; each verdict gives the reason if not.

    `step(images, draws)` computes the loss from images and from what is drawn for each of them: a scalar, or the losses
    at every place, whose mean is taken then. It is run with the same random numbers each time. `head` is the module
    that predicts in it, of output "batch outputs values"; its output is taken and replaced by a hook. Without one, the
    step must give "batch places" losses of pixels, and fewer things can be told from these. `images`: at least two
    different ones, best in float64, as the weights: then a dependence is any value that is not zero. `claims`: what it
    should be, by default the paper's objective with prefix attention; `next_patch` gives that with causal attention.
    `draws`: those to be tried, by default the examples of the claims; a step that has no prefix is tried with
    `with_prefix(torch.tensor([1]))`. UserError when the step or the head gives something else.
    """
    claims = next_patch(images, patch_size) if claims is None else claims
    tried = claims.examples() if draws is None else draws
    if len(images) < 2:
        raise UserError("give at least two images: patches of one are replaced by those of another")
    if head is None:
        return prove_losses(step, claims, images, patch_size, tried)
    return prove(foreign_subject(step, head, claims, images, patch_size, tried))


def next_patch(images: Tensor, patch_size: int, attention: Attention = "prefix") -> NextPatch:
    """The claims of the paper's objective for such images, in raster order."""
    channels, height, width = images.shape[1:]
    return NextPatch(ModelConfig("nano", (height, width), patch_size, channels, target="pixels", attention=attention))


def foreign_subject(
    step: Step, head: nn.Module, claims: Claims, images: Tensor, patch_size: int, draws: Draws
) -> Subject:
    """The step as two functions: up to the output of `head`, and from any such output to the loss."""

    def predict(images: Tensor, draws: Draws) -> Tensor:
        return _tapped(step, head, images, draws, None)[0]

    def loss(predictions: Tensor, images: Tensor, draws: Draws) -> Tensor:
        return _tapped(step, head, images, draws, predictions)[1]

    return Subject(predict, loss, claims, images, patch_size, draws)


def _tapped(step: Step, head: nn.Module, images: Tensor, draws: Draws, instead: Tensor | None) -> tuple[Tensor, Tensor]:
    """(what the head gave, the loss), with `instead` in place of what it gave."""
    outputs: list[Any] = []

    def hook(module: nn.Module, inputs: Any, output: Any) -> Tensor | None:
        outputs.append(output)
        return instead

    handle = head.register_forward_hook(hook)
    try:
        loss = run(step, images, draws)
    finally:
        handle.remove()
    if len(outputs) != 1:
        raise UserError(
            f"the head ran {len(outputs)} times in one step; give the module that predicts, which runs once"
        )
    if not isinstance(outputs[0], Tensor) or outputs[0].dim() != 3:
        raise UserError(
            "the output of the head is not of shape (batch, outputs, values); give the module that predicts"
        )
    return outputs[0], loss.mean()
