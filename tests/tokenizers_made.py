"""A small tokenizer of k-means, for the tests of all that use one."""

from __future__ import annotations

import torch

from nextpatch.tokenizer.artifact import Artifact, TokenizerFacts

FACTS = TokenizerFacts("kmeans", 5, 2, 3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.2), {"norm": False}, {"data": "photos"})


def artifact(facts: TokenizerFacts = FACTS, **tensors: torch.Tensor) -> Artifact:
    """A small tokenizer, with some of its tensors replaced."""
    made = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    return Artifact(facts, {"centers": made, "frequencies": torch.full((5,), 0.2), **tensors})
