"""The objective of generation in words: for captions, pages and verdicts."""

from __future__ import annotations

from nextpatch.model.config import ModelConfig
from nextpatch.objective.objective import Words
from nextpatch.objective.targets.target import TargetWords


def generate_words(cfg: ModelConfig, goal: TargetWords) -> Words:
    """Of a configuration, with the words of its target."""
    before = "before it" + (" in the image's own order" if cfg.draws_order else "")
    made = "drawn from its distribution given" if cfg.is_distribution else "predicted from"
    return Words(
        name="generation patch by patch",
        promise="predicts every patch, the first one too, and never sees it",
        does=f"each patch from a start token and all patches {before}",
        target="the NEXT one",
        hidden="its target or a later patch",
        visible="all patches before its target",
        scored="the patches that are not known",
        unscored=f"outputs that are not scored see exactly what {cfg.attention} attention allows",
        copying="the shift by the start token is missing",
        leaking="the attention mask lets it look ahead",
        shaded="the patches that are known; each other patch is predicted from a start token and all patches "
        f"{before}.",
        predicted=goal.predicted.replace("after the prefix", "that is not known"),
        completed=f"Each patch that is not known is {made} all TRUE patches {before}, not those drawn earlier: this is "
        "what the loss measures. It is not an image generated from the known patches alone.",
        by_place="it is low where a patch follows from the patches before it, or where images are uniform. The first "
        "patch is predicted from nothing."
        + (" Early patches are known in most images, so they are scored rarely." if cfg.attention == "prefix" else ""),
        left_out=goal.left_out,
        guess=f"always predicting {goal.guess}" if not cfg.is_distribution else goal.guess,
    )
