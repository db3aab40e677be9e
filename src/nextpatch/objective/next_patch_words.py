"""The paper's objective in words: for captions, pages and verdicts."""

from __future__ import annotations

from nextpatch.model.config import ModelConfig
from nextpatch.objective.objective import Words
from nextpatch.objective.targets.target import TargetWords


def next_patch_words(cfg: ModelConfig, goal: TargetWords) -> Words:
    """Of a configuration, with the words of its target."""
    early = (
        " Early patches are in the prefix of most images, so they are scored rarely and their values are less certain."
    )
    return Words(
        name="next-patch prediction",
        promise="predicts the next patch and never sees it",
        does="each patch from all patches before it",
        target="the NEXT one",
        hidden="its target or a later patch",
        visible="all patches before its target",
        scored="the patches after the prefix",
        unscored=f"outputs that are not scored see exactly what {cfg.attention} attention allows",
        copying="the one-patch shift is missing",
        leaking="the attention mask lets it look ahead",
        shaded="the prefix, which the model sees completely; each later patch is predicted from all patches before it."
        if cfg.attention == "prefix"
        else "the first patch, which is not predicted; each other patch is predicted from all patches before it.",
        predicted=goal.predicted,
        completed="Each later patch is predicted from all true patches before it, not from earlier predictions: this "
        "is what the loss measures. It is not an image generated from the prefix alone.",
        by_place="it is low where a patch follows from the patches before it, or where images are uniform. The first "
        "patch is never predicted." + (early if cfg.attention == "prefix" else ""),
        left_out=goal.left_out,
        guess=f"always predicting {goal.guess}",
    )
