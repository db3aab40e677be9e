"""How good a tokenizer is, of whatever kind: which codes are used, and what is left of images that it never saw."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nextpatch.data.loader import Batch
from nextpatch.data.views import to_model_input
from nextpatch.patches import patch_statistics, patchify, unpatchify
from nextpatch.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Quality:
    """Figures of one tokenizer. Errors are squared, of normalized pixels, means over the values of held-out images."""

    used: int  # codes that a patch of the collection has
    entropy_bits: float  # of the frequencies: log2 of the number of codes where all are equally frequent
    held_out_images: int
    error: float | None = None  # between an image and its reconstruction; None where there was no image
    guess: float | None = None  # of what is known without codes: the data's mean, or with `left_out` each patch's

    @property
    def perplexity(self) -> float:
        """As many equally frequent codes would have the same entropy."""
        return float(2**self.entropy_bits)

    def values(self) -> dict[str, Any]:
        """For the facts of the tokenizer."""
        return {**asdict(self), "perplexity": self.perplexity}

    def lines(self, codes: int, left_out: str) -> list[str]:
        """In words, one line each."""
        said = [
            f"codes used: {self.used:,} of {codes:,} ({self.used / codes:.1%})",
            f"entropy: {self.entropy_bits:.2f} bits, as of {self.perplexity:,.0f} codes that are equally frequent",
        ]
        if self.error is not None and self.guess is not None:
            known = f"with the {left_out} of each patch put back; these alone" if left_out else "the mean alone"
            said.append(
                f"reconstruction error on {self.held_out_images:,} held-out images: {self.error:.4f} (squared, of "
                f"normalized pixels; {known}: {self.guess:.4f})"
            )
        return said


def quality(tokenizer: Tokenizer, batches: Iterable[Batch]) -> Quality:
    """Of a tokenizer on its device, with evaluation views of images that it was not fitted on."""
    shares = tokenizer.frequencies.double()
    some = shares[shares > 0]
    entropy = float(-(some / some.sum() * (some / some.sum()).log2()).sum())
    images, values = 0, 0
    errors = [0.0, 0.0]
    for batch in batches:
        if not len(batch.images):
            continue
        seen = to_model_input(batch.images, tokenizer.mean, tokenizer.std, tokenizer.frequencies.device)
        known = reconstruction(tokenizer, seen, codes=False)
        for number, other in enumerate((reconstruction(tokenizer, seen), known)):
            errors[number] += float((seen - other).double().square().sum())
        images, values = images + len(seen), values + seen.numel()
    found = [error / values for error in errors] if values else [None, None]
    return Quality(len(some), entropy, images, *found)


@torch.no_grad()
def reconstruction(
    tokenizer: Tokenizer, images: Float[Tensor, "batch channels height width"], codes: bool = True
) -> Float[Tensor, "batch channels height width"]:
    """Images by way of their codes, with what these leave out put back; without `codes`, of that alone."""
    patch = tokenizer.patch_size
    grid = (images.shape[2] // patch, images.shape[3] // patch)
    made = tokenizer.decode(tokenizer.encode(images), grid).to(images) if codes else torch.zeros_like(images)
    if not tokenizer.left_out:
        return made
    mean, deviation = patch_statistics(patchify(images, patch))
    return unpatchify(patchify(made, patch) * deviation + mean, grid, patch)
