"""What a short run from scratch can and cannot give, said before it starts."""

from __future__ import annotations

from nextpatch.runs.recipe import Recipe

MOST_SEEN = 200_000  # images, in all passes; features of 64,000 to 192,000 were measured (docs/log.md)


def short_run_advice(recipe: Recipe) -> tuple[str, ...]:
    """Lines for whoever starts it; none for a longer run, one with weights to begin from, or one that makes images."""
    seen = recipe.train.steps * recipe.train.global_batch_size
    if recipe.train.init or recipe.model.objective == "generate" or seen > MOST_SEEN:
        return ()
    return (
        f"this run sees {seen:,} images, repeats included, and starts from scratch: expect features clearly better "
        "than an untrained network's, and with about 1,000 labels at most a few points better than raw pixels",
        "with few labels, released weights are usually the better start: --init apple/aim-600M, or nextpatch probe "
        'apple/aim-600M (docs/measure.md, "What a short run can give")',
    )
