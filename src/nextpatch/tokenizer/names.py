"""Which kinds of tokenizers there are, and what fits them (no torch here: a recipe is read before it is loaded)."""

from __future__ import annotations

from nextpatch.core.registry import Registry

TOKENIZERS = Registry(
    "tokenizer",
    kmeans="nextpatch.tokenizer.kmeans:KMeansTokenizer",
    dvae="nextpatch.tokenizer.dvae:DVAETokenizer",
    codebook="nextpatch.tokenizer.codebook:CodebookTokenizer",
)
FITS = Registry(
    "kind of tokenizer to fit",
    kmeans="nextpatch.tokenizer.kmeans_fit:fit_kmeans",
    dvae="nextpatch.tokenizer.dvae_fit:fit_dvae",
    codebook="nextpatch.weights.codebook:fit_codebook",
)
