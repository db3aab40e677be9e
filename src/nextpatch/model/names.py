"""What a recipe can name of a model, and where it is (no torch here: a recipe is read before it is loaded)."""

from __future__ import annotations

from nextpatch.core.registry import Registry

OBJECTIVES = Registry(
    "objective",
    next_patch="nextpatch.objective.next_patch:NextPatch",
    masked="nextpatch.objective.masked:Masked",
    generate="nextpatch.objective.generate:Generate",
)
TARGETS = Registry(
    "target",
    norm_pixels="nextpatch.objective.targets.pixels:NormalizedPixels",
    pixels="nextpatch.objective.targets.pixels:Pixels",
    tokens="nextpatch.objective.targets.tokens:Tokens",
    distribution="nextpatch.objective.targets.distribution:OfHead",
)
ORDERS = Registry(
    "order",
    raster="nextpatch.model.orders:raster",
    spiral="nextpatch.model.orders:spiral",
    checkerboard="nextpatch.model.orders:checkerboard",
    random="nextpatch.model.orders:random",
    any="nextpatch.model.orders:of_features",
    known_first="nextpatch.model.orders:of_features",
)
DRAWN_ORDERS = ("any", "known_first")  # which are drawn anew for each image, of the objective generate
SEEDLESS_ORDERS = ("raster", "spiral", "checkerboard", *DRAWN_ORDERS)  # of ours, those that a seed does not change
HEADS = Registry(
    "head",
    mlp="nextpatch.model.heads.mlp:MLPHead",
    none="nextpatch.model.heads.linear:LinearHead",
    transformer="nextpatch.model.heads.transformer:TransformerHead",
    flow="nextpatch.model.heads.flow:FlowHead",
    diffusion="nextpatch.model.heads.diffusion:DiffusionHead",
    density="nextpatch.model.heads.density:DensityHead",
)
DISTRIBUTIONS = ("flow", "diffusion", "density")  # heads that are a distribution over patches
