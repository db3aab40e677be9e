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

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.core.errors import UserError
from nextpatch.core.random import FixedSeed, torch_seeded
from nextpatch.model.config import Attention, ModelConfig
from nextpatch.objective.next_patch import NextPatch
from nextpatch.objective.objective import Claims, Draws
from nextpatch.tasks.check.losses import Step, prove_losses, run
from nextpatch.tasks.check.proofs import prove
from nextpatch.tasks.check.subject import Codes, Subject
from nextpatch.tasks.check.told import Verdict


def check_foreign(
    step: Step,
    images: Float[Tensor, "batch channels height width"],
    patch_size: int,
    head: nn.Module | None = None,
    claims: Claims | None = None,
    draws: Draws | None = None,
    tokenizer: nn.Module | None = None,
) -> list[Verdict]:
    """Whether a training step of another make does what is claimed of it; each verdict gives the reason if not.

    `step(images, draws)` computes the loss from images and from what is drawn for each of them: a scalar, or the losses
    at every place, whose mean is taken then. It is run with the same random numbers each time. `head` is the module
    that predicts in it, of output "batch outputs values"; its output is taken and replaced by a hook. Without one, the
    step must give "batch places" losses of pixels, and fewer things can be told from these. `images`: at least two
    different ones, best in float64, as the weights: then a dependence is any value that is not zero. `claims`: what it
    should be, by default the paper's objective with prefix attention; `next_patch` gives that with causal attention.
    `draws`: those to be tried, by default the examples of the claims; a step that has no prefix is tried with
    `with_prefix(torch.tensor([1]))`. `tokenizer`: the module in the step whose output is the codes that are predicted,
    whole numbers "batch patches" or "batch rows columns" (it needs `head` too); the codes are replaced by a hook, and
    must be those that the module gives for the images themselves. UserError when the step, the head or the tokenizer
    gives something else.
    """
    claims = next_patch(images, patch_size) if claims is None else claims
    tried = claims.examples() if draws is None else draws
    if len(images) < 2:
        raise UserError("give at least two images: patches of one are replaced by those of another")
    if head is None and tokenizer is not None:
        raise UserError("give the module that predicts as head too: codes are examined with its output held fixed")
    if head is None:
        return prove_losses(step, claims, images, patch_size, tried)
    return prove(foreign_subject(step, head, claims, images, patch_size, tried, tokenizer))


def next_patch(images: Tensor, patch_size: int, attention: Attention = "prefix") -> NextPatch:
    """The claims of the paper's objective for such images, in raster order."""
    channels, height, width = images.shape[1:]
    return NextPatch(ModelConfig("nano", (height, width), patch_size, channels, target="pixels", attention=attention))


def foreign_subject(
    step: Step,
    head: nn.Module,
    claims: Claims,
    images: Tensor,
    patch_size: int,
    draws: Draws,
    tokenizer: nn.Module | None = None,
) -> Subject:
    """The step as two functions: up to the output of `head`, and from any such output to the loss."""

    def predict(images: Tensor, draws: Draws) -> Tensor:
        with _Tap(head) as tap:
            run(step, images, draws)
        return _predictions(tap.output("head"))

    def loss(predictions: Tensor, images: Tensor, draws: Draws) -> Tensor:
        with _Tap(head, predictions) as tap:
            value = run(step, images, draws)
        tap.output("head")
        return value.mean()

    codes = None if tokenizer is None else _codes(step, head, tokenizer, images, patch_size, draws.part(0, 1))
    return Subject(predict, loss, claims, images, patch_size, draws, codes)


def _codes(step: Step, head: nn.Module, tokenizer: nn.Module, images: Tensor, patch_size: int, draws: Draws) -> Codes:
    """The tokenizer by itself on given images, and the step with other codes in place of the tokenizer's output."""

    def encode(images: Tensor) -> Tensor:
        with torch.no_grad(), torch_seeded(FixedSeed.FOREIGN_STEP):
            return _grid(tokenizer(images)).flatten(1)

    def loss(predictions: Tensor, codes: Tensor, draws: Draws) -> Tensor:
        given = codes.reshape(len(codes), *shape)
        with _Tap(head, predictions), _Tap(tokenizer, given):
            return run(step, images[: len(codes)], draws).mean()

    with _Tap(tokenizer) as tap:
        run(step, images[:1], draws)
    shape, patches = _grid(tap.output("tokenizer")).shape[1:], images[0, 0].numel() // patch_size**2
    if shape.numel() != patches:
        raise UserError(
            f"the tokenizer gives {shape.numel()} codes for an image of {patches} patches; it must be as many"
        )
    return Codes(encode, loss)


class _Tap:
    """What a module gives while this is entered, with `instead` in its place."""

    def __init__(self, module: nn.Module, instead: Tensor | None = None) -> None:
        self._module, self._instead = module, instead
        self._outputs: list[Any] = []

    def __enter__(self) -> _Tap:
        self._handle = self._module.register_forward_hook(self._hook)
        return self

    def __exit__(self, *exception: object) -> None:
        self._handle.remove()

    def _hook(self, module: nn.Module, inputs: Any, output: Any) -> Tensor | None:
        self._outputs.append(output)
        return self._instead

    def output(self, name: str) -> Any:
        """What it gave, once; UserError for a module that runs more or less often."""
        if len(self._outputs) == 1:
            return self._outputs[0]
        raise UserError(
            f"the {name} ran {len(self._outputs)} times in one step; give the module that "
            f"{'predicts' if name == 'head' else 'gives the codes'}, which runs once"
        )


def _predictions(output: Any) -> Tensor:
    if isinstance(output, Tensor) and output.dim() == 3:
        return output
    raise UserError("the output of the head is not of shape (batch, outputs, values); give the module that predicts")


def _grid(output: Any) -> Tensor:
    if isinstance(output, Tensor) and output.dim() in (2, 3) and not output.is_floating_point():
        return output
    raise UserError(
        "the output of the tokenizer is not whole numbers of shape (batch, patches) or (batch, rows, columns); give "
        "the module that gives the codes"
    )
