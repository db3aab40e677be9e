"""What a recipe can name of a model, and where it is (no torch here: a recipe is read before it is loaded)."""

from __future__ import annotations

from nextpatch.core.registry import Registry

HEADS = Registry(
    "head",
    mlp="nextpatch.model.heads.mlp:MLPHead",
    none="nextpatch.model.heads.linear:LinearHead",
)
