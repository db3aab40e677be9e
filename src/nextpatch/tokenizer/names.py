"""Which kinds of tokenizers there are, and where (no torch here: a recipe is read before it is loaded)."""

from __future__ import annotations

from nextpatch.core.registry import Registry

TOKENIZERS = Registry(
    "tokenizer",
    kmeans="nextpatch.tokenizer.kmeans:KMeansTokenizer",
    codebook="nextpatch.tokenizer.codebook:CodebookTokenizer",
)
