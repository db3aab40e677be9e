"""Train every probe of the grid, and choose by held-out images: no test image, and no test label, is seen here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.dist.ranks import Ranks
from nextpatch.measure.metrics import Answers
from nextpatch.measure.probe_result import LayerScore
from nextpatch.tasks.probe.features import Labeled
from nextpatch.tasks.probe.grid import Grid
from nextpatch.tasks.probe.logistic import logistic_path
from nextpatch.tasks.probe.neighbors import Neighbors
from nextpatch.tasks.probe.train import Setting, trained

_EVALUATED = 512


@dataclass(frozen=True)
class Choice:
    """The best probe of one kind, for one number of labels, on one kind of features."""

    labels: int
    features: str
    probe: str
    set_index: int
    layers: list[str]
    lr: float | None
    k: int | None
    select_top1: float
    classifier: nn.Module  # "batch patches dim" of its layer set -> votes or logits per class


@dataclass(frozen=True)
class Scored(Answers):
    """The answers of a choice."""

    choice: Choice


def choose(
    setting: Setting,
    features: str,
    names: Sequence[list[str]],
    train: Labeled,
    select: Labeled,
    attentive: bool,
    advance: Callable[[int], None] = lambda steps: None,
) -> tuple[list[Choice], list[LayerScore]]:
    """Attentive (where there are patches), linear and k-nearest-neighbor probes: the best of each kind, by `select`."""
    grids = trained(setting, train, attentive, advance)
    choices, sweep = [], []
    count = len(train.label_of)
    for kind, grid in grids.items():
        scores = _accuracy(grid, select, setting)
        best = scores.flatten().argmax()
        s, g = divmod(int(best), len(grid.lrs))
        found = float(scores[s, g])
        chosen = grid.classifier(s, g)
        choices.append(Choice(count, features, kind, s, names[s], grid.lrs[g], None, found, chosen))
        tops, at = scores.max(dim=1)
        for layers, top1, lr in zip(names, tops.tolist(), at.tolist(), strict=True):
            sweep.append(_layer_score(count, features, kind, layers, grid.lrs[lr], top1))
    if {"knn", "logistic"} & set(setting.cfg.probes):
        for choice, entries in _on_vectors(setting, features, names, train, select):
            choices.append(choice)
            sweep += entries
    return choices, sweep


@torch.no_grad()
def _accuracy(grid: Grid, images: Labeled, setting: Setting) -> Float[Tensor, "sets lrs"]:
    """Percent of images, on all ranks, that each probe gets right."""
    right, seen = torch.zeros(len(grid.norms), len(grid.lrs)), 0
    for features, labels in images.batches(_EVALUATED):
        logits = grid(features.to(setting.device))
        answered = logits.isfinite().all(dim=-1)  # of NaN the largest is any class: a probe that diverged has no answer
        right += ((logits.argmax(dim=-1) == labels.to(setting.device)) & answered).sum(dim=-1).cpu()
        seen += len(labels)
    *counts, total = setting.ranks.sum([*right.flatten().tolist(), seen])
    return 100 * torch.tensor(counts).view_as(right) / total


def _on_vectors(
    setting: Setting, features: str, names: Sequence[list[str]], train: Labeled, select: Labeled
) -> Iterator[tuple[Choice, list[LayerScore]]]:
    """The best (layers, k) and (layers, penalty) of classifiers on the mean over patches."""
    ranks, count = setting.ranks, len(train.label_of)
    (bank, bank_labels), (queries, labels) = (_of_all(part.pooled(), ranks) for part in (train, select))
    if "knn" in setting.cfg.probes:
        ks = sorted({min(k, len(bank_labels)) for k in setting.cfg.neighbors})
        found = []
        for s, layers in enumerate(names):
            nearest = Neighbors(bank[s], bank_labels, setting.num_classes)
            right = (nearest.votes_at(queries[s], ks).argmax(dim=-1) == labels).float().mean(dim=1)
            nearest.k = ks[int(right.argmax())]
            top1 = 100 * float(right.max())
            found.append(Choice(count, features, "knn", s, layers, None, nearest.k, top1, nearest))
        yield _best(found)
    if "logistic" in setting.cfg.probes:
        found = []
        for s, layers in enumerate(names):
            fitted = logistic_path(bank[s], bank_labels, setting.num_classes)
            scores = [(m.on_vectors(queries[s]).argmax(dim=-1) == labels).float().mean().item() for m in fitted]
            at = max(range(len(scores)), key=scores.__getitem__)
            found.append(Choice(count, features, "logistic", s, layers, None, None, 100 * scores[at], fitted[at]))
        yield _best(found)


def _of_all(own: tuple[Tensor, Tensor], ranks: Ranks) -> tuple[Tensor, Tensor]:
    """The vectors "sets images dim" and labels of all ranks."""
    vectors, labels = own
    return ranks.gathered(vectors.transpose(0, 1).contiguous()).transpose(0, 1), ranks.gathered(labels)


def _best(found: list[Choice]) -> tuple[Choice, list[LayerScore]]:
    entries = [_layer_score(c.labels, c.features, c.probe, c.layers, None, c.select_top1) for c in found]
    return max(found, key=lambda choice: choice.select_top1), entries


def _layer_score(
    labels: int, features: str, probe: str, layers: Sequence[str], lr: float | None, select_top1: float
) -> LayerScore:
    return LayerScore(
        labels=labels, features=features, probe=probe, layers=span(layers), lr=lr, select_top1=select_top1
    )


def span(layers: Sequence[str]) -> str:
    """block_3 for one; block_0-3, or block_0,3 where blocks are left out."""
    blocks = [int(layer.removeprefix("block_")) for layer in layers]
    if not blocks or blocks == list(range(blocks[0], blocks[-1] + 1)):
        return f"block_{'-'.join(str(block) for block in dict.fromkeys(blocks[:1] + blocks[-1:]))}"
    return f"block_{','.join(map(str, blocks))}"
