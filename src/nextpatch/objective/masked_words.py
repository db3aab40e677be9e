"""The masked objective in words, for captions, reports and verdicts."""

from __future__ import annotations

from nextpatch.objective.objective import Words
from nextpatch.objective.targets.target import TargetWords


def masked_words(goal: TargetWords) -> Words:
    """With those of the target."""
    return Words(
        name="masked prediction",
        promise="predicts masked patches and never sees them",
        does="each masked patch from all patches that are not masked",
        target="the one at its OWN place",
        hidden="any masked patch, its target among them",
        visible="all patches that are not masked",
        scored="the masked patches",
        unscored="outputs at other places, which are not scored, see all patches that are not masked",
        copying="the patch is not masked",
        leaking="masked patches still show",
        shaded="the patches that are not masked; each masked patch is predicted from them.",
        predicted=goal.predicted.replace("after the prefix", "that is masked"),
        completed="Each masked patch is predicted from all true patches that are not masked, and from no other "
        "prediction: this is what the loss measures.",
        by_place="it is low where the patches around determine the masked one, or where images are uniform.",
        left_out=goal.left_out,
        guess=f"always predicting {goal.guess}",
        inverted="what is masked and what is not are exchanged",
    )
