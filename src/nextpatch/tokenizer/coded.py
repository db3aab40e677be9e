"""Views with the codes that a tokenizer gives them, and how frequent these are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpatch.core.progress import Meter
from nextpatch.tokenizer.artifact import FREQUENCIES, Artifact
from nextpatch.tokenizer.tokenizer import Tokenizer
from nextpatch.tokenizer.views import Views

_AT_A_TIME = 64  # images


def coded(
    tokenizer: Tokenizer, views: Views, images: int
) -> Iterator[tuple[Float[Tensor, "batch channels height width"], Int[Tensor, "batch patches"]]]:
    """(views from the first on, their codes), `images` of them in all, on the tokenizer's device."""
    batches = -(-images // _AT_A_TIME)
    with Meter("codes of images", images) as meter:
        done = 0
        for seen in islice(views.batches(0, _AT_A_TIME), batches):
            seen = seen[: images - done]
            yield seen, tokenizer.encode(seen)
            done += len(seen)
            meter(done, images)


def counts_of(codes: Int[Tensor, "batch patches"], number: int) -> Int[Tensor, " codes"]:
    """How often each of `number` codes stands in a batch; on the CPU, where the order of sums is always the same."""
    return torch.bincount(codes.flatten().cpu(), minlength=number)


def with_frequencies(artifact: Artifact, counts: Int[Tensor, " codes"], **tensors: Tensor) -> Artifact:
    """The same with frequencies from counts, and with other tensors replaced."""
    shares = (counts.double() / counts.sum()).float()
    return replace(artifact, tensors={**artifact.tensors, FREQUENCIES: shares, **tensors})


def evenly(codes: int) -> Float[Tensor, " codes"]:
    """Frequencies until they are measured."""
    return torch.full((codes,), 1 / codes)
