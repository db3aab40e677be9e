"""Fit every kind of probe and choose by held-out images: no test image, and no test label, is seen here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nextpatch.measure.probe_result import LayerScore
from nextpatch.tasks.probe.evaluator import Candidate, Choice, ProbeData, evaluator_of
from nextpatch.tasks.probe.train import fit_all


def choose(
    kinds: Sequence[str], features: str, data: ProbeData, advance: Callable[[int], None] = lambda steps: None
) -> tuple[list[Choice], list[LayerScore]]:
    """The best probe of each of `kinds` on the features called `features`, and how good each layer set is."""
    evaluators = {kind: evaluator_of(kind) for kind in kinds}
    learners = fit_all(evaluators, data, advance)
    choices, sweep = [], list[LayerScore]()
    for kind, evaluator in evaluators.items():
        found = evaluator.select(data, learners.get(kind))
        choices.append(_best(kind, features, data, found))
        sweep += _layer_scores(kind, features, data, found)
    return choices, sweep


def _best(kind: str, features: str, data: ProbeData, found: Sequence[Candidate]) -> Choice:
    """The candidate with the highest accuracy; of equal ones the first."""
    s = max(range(len(found)), key=lambda i: found[i].select_top1)
    best, count = found[s], len(data.train.label_of)
    return Choice(
        count, features, kind, s, data.layer_sets[s], best.lr, best.k, best.select_top1, best.classifier()
    )  # fmt: skip


def _layer_scores(kind: str, features: str, data: ProbeData, found: Sequence[Candidate]) -> list[LayerScore]:
    return [
        LayerScore(
            labels=len(data.train.label_of), features=features, probe=kind, layers=span(layers), lr=one.lr,
            select_top1=one.select_top1,
        )
        for layers, one in zip(data.layer_sets, found, strict=True)
    ]  # fmt: skip


def span(layers: Sequence[str]) -> str:
    """block_3 for one; block_0-3, or block_0,3 where blocks are left out."""
    blocks = [int(layer.removeprefix("block_")) for layer in layers]
    if not blocks or blocks == list(range(blocks[0], blocks[-1] + 1)):
        return f"block_{'-'.join(str(block) for block in dict.fromkeys(blocks[:1] + blocks[-1:]))}"
    return f"block_{','.join(map(str, blocks))}"
