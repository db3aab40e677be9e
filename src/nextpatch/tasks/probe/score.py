"""Chosen probes on the test images: their answers, and what these amount to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.data.skipped import none_decodes
from nextpatch.data.splits import Splits, Unlabeled
from nextpatch.dist.ranks import Ranks
from nextpatch.measure.metrics import TOP, Answers, likeliest
from nextpatch.measure.probe_result import PRETRAINED, Interval, ProbeScore
from nextpatch.tasks.probe.evaluator import Choice
from nextpatch.tasks.probe.labeled import at_hand
from nextpatch.tasks.probe.probed_model import Features


@dataclass(frozen=True)
class Scored(Answers):
    """The answers of a choice."""

    choice: Choice


def score(choices: tuple[Choice, ...], extractors: Features, splits: Splits, ranks: Ranks) -> list[Scored]:
    """Every frozen choice on the test images; their labels are opened when all predictions are made."""
    top = min(TOP, len(splits.classes))
    ranked: list[list[Tensor]] = [[] for _ in choices]
    indices: dict[str, Int64[np.ndarray, " tested"]] = {}
    unlabeled, none = Unlabeled(splits.test_source), torch.empty(0, top, dtype=torch.int64)
    for name, extract in extractors.items():
        found = []
        for features, which in at_hand(extract, unlabeled, splits.test[ranks.rank :: ranks.size], ranks):
            found.append(which)
            for choice, outputs in zip(choices, ranked, strict=True):
                if choice.features == name:
                    outputs.append(_answered(choice, features[choice.set_index], top))
        indices[name] = ranks.gathered(torch.from_numpy(np.concatenate([np.empty(0, np.int64), *found]))).numpy()
        if not len(indices[name]):
            raise none_decodes(unlabeled.name, extract.bad)
    labels = splits.open_test_labels(indices[PRETRAINED])
    known = labels >= 0
    return [
        Scored(ranks.gathered(torch.cat([none, *outputs])).numpy()[known], labels[known], choice)
        for choice, outputs in zip(choices, ranked, strict=True)
    ]


@torch.no_grad()
def _answered(choice: Choice, features: Tensor, top: int) -> Tensor:
    """The likeliest classes by a choice; UserError when its training went to infinity."""
    scores = choice.classifier.cpu()(features)
    if bool((scores.isnan() | (scores == torch.inf)).any()):
        raise UserError(
            f"the {choice.probe} probe of {choice.features} features, {choice.labels:,} labels, gives numbers that are "
            f"not finite with every learning rate tried; give lower --lrs (the best was {choice.lr})"
        )
    return likeliest(scores, top)


def score_of(one: Scored, seed: int) -> ProbeScore:
    """The figures of a choice's answers, to three digits after the point; `seed` draws the bootstrap."""
    c = one.choice
    drawn: dict[str, Interval] = one.bootstrap(seed)
    return ProbeScore(
        labels=c.labels, features=c.features, probe=c.probe, layers=tuple(c.layers), lr=c.lr, k=c.k,
        select_top1=round(c.select_top1, 3), test_bootstrap95=drawn, **one.figures(),
    )  # fmt: skip
