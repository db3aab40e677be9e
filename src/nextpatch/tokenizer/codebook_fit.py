"""How the public codebook becomes a tokenizer of ours: its codes are counted on views, and their mean patches taken."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nextpatch.patches import patchify
from nextpatch.tokenizer.artifact import FREQUENCIES, Artifact, TokenizerFacts
from nextpatch.tokenizer.coded import coded, counts_of, evenly, with_frequencies
from nextpatch.tokenizer.dalle import CodebookSizes
from nextpatch.tokenizer.tokenizer import tokenizer_of
from nextpatch.tokenizer.views import Views


def measured_codebook(
    views: Views, sizes: CodebookSizes, tensors: Mapping[str, Tensor], patch_size: int, images: int
) -> Artifact:
    """The artifact of an encoder (`tensors`), with the frequency and the mean patch of each code on `images` views.

    A code that none of them has gets the mean of all patches. TokenizerError for channels that it cannot take.
    """
    options = {"channels": sizes.channels, "hidden": sizes.hidden, "blocks": sizes.blocks}
    facts = TokenizerFacts(
        "codebook", sizes.codes, patch_size, views.in_chans, views.mean, views.std, options, {"coded_images": images}
    )
    empty = torch.zeros(sizes.codes, facts.patch_dim)
    made = Artifact(facts, {**tensors, "patches": empty, FREQUENCIES: evenly(sizes.codes)})
    tokenizer = tokenizer_of(made).to(views.device)
    counts, sums = torch.zeros(sizes.codes, dtype=torch.int64), empty.double()
    for seen, codes in coded(tokenizer, views, images):
        counts += counts_of(codes, sizes.codes)
        sums.index_add_(0, codes.flatten().cpu(), patchify(seen, patch_size).flatten(0, 1).cpu().double())
    usual = sums.sum(dim=0) / counts.sum()
    patches = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], usual)
    return with_frequencies(made, counts, patches=patches.float())
