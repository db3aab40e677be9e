"""Look at every image of a collection once: what there is, what is wrong with it, and how long that takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from nextpatch.core.progress import Meter
from nextpatch.data.levels import advice
from nextpatch.data.preprocessing import AS_OURS, Preprocessing
from nextpatch.data.skipped import Bad
from nextpatch.data.sources.source import Source
from nextpatch.data.sources.sparse import sparse
from nextpatch.data.workers import in_order
from nextpatch.model.config import ModelConfig
from nextpatch.tasks.curate.scan import Looks
from nextpatch.tasks.curate.statistics import Spread, Tally

EXAMPLES = 3


@dataclass(frozen=True)
class Findings:
    """What was found. Counts are of the images looked at; all but `unusable` are of those that can be used.

    `shorter_side`: (from, up to but not including, images) in px. Of `duplicates`, `extra` counts the copies beside the
    first of each group, `contradicting` the groups in which labels differ. `smaller` counts images that are smaller
    than the model's in either direction; None without a model. With one, images of other channels are unusable.
    """

    name: str
    images: int
    looked_at: int
    usable: int
    classes: dict[str, int]
    unlabeled: int
    formats: dict[str, int]
    channels: dict[int, int]
    height: Spread
    width: Spread
    bytes: Spread
    shorter_side: list[tuple[int, int, int]]
    unusable: dict[str, dict[str, Any]]
    duplicates: dict[str, Any]
    smaller: int | None
    levels: str
    several_pictures: int
    decoded: bool
    workers: int
    elapsed_s: float


def inspect(
    source: Source,
    limit: int = 0,
    fast: bool = False,
    workers: int = 0,
    model: ModelConfig | None = None,
    console: Console | None = None,
    reading: Preprocessing = AS_OURS,
) -> tuple[Findings, Bad]:
    """One pass over the source, or over `limit` images evenly spread; and, by key, what cannot be used.

    With `fast` nothing is decoded, so damage behind a sound header is not seen. Memory: 36 bytes an image looked at.
    """
    count = min(limit, len(source)) if limit else len(source)
    source = sparse(source) if count < len(source) else source
    indices = np.unique(np.linspace(0, len(source) - 1, count).round().astype(np.int64))
    tally, bad = Tally(len(indices)), Bad()
    with Meter("inspect", len(indices), console=console) as meter:
        for looks in in_order(Looks(source, indices, fast, reading, model.in_chans if model else 0), workers):
            for look in looks:
                tally.add(look)
                if look.bad:
                    bad[source.key(look.number)] = look.bad
            meter.add(len(looks))
        elapsed_s = meter.elapsed_s
    findings = Findings(
        name=source.name,
        images=len(source),
        looked_at=len(indices),
        usable=tally.usable,
        classes={name: tally.labels[number] for number, name in enumerate(source.classes)},
        unlabeled=tally.labels[None],
        formats=dict(tally.formats.most_common()),
        channels=dict(tally.channels.most_common()),
        **tally.spreads(),
        shorter_side=tally.shorter_side(),
        unusable=_by_kind(bad),
        duplicates=_duplicates(tally, source),
        smaller=tally.smaller(model.img_size) if model else None,
        levels=advice(tally.levels, reading.pixel_range),
        several_pictures=tally.several if reading.pages == "first" else 0,
        decoded=not fast,
        workers=workers,
        elapsed_s=round(elapsed_s, 2),
    )
    return findings, bad


def _by_kind(bad: Bad) -> dict[str, dict[str, Any]]:
    """For each kind of trouble how many there are, and some of them with the full reason."""
    found: dict[str, dict[str, Any]] = {}
    for key, entry in bad.items():
        kind = found.setdefault(entry.kind, {"count": 0, "examples": []})
        kind["count"] += 1
        if len(kind["examples"]) < EXAMPLES:
            kind["examples"].append({"key": key, "reason": entry.reason})
    return dict(sorted(found.items(), key=lambda item: -item[1]["count"]))


def _duplicates(tally: Tally, source: Source) -> dict[str, Any]:
    groups = tally.repeated()
    contradicting = [group for group in groups if len({source.label(index) for index in group}) > 1]
    return {
        "groups": len(groups),
        "extra": sum(map(len, groups)) - len(groups),
        "contradicting": len(contradicting),
        "examples": [_named(group, source) for group in groups[:EXAMPLES]],
        "contradicting_examples": [_named(group, source) for group in contradicting[:EXAMPLES]],
    }


def _named(group: list[int], source: Source) -> list[str]:
    """Some members; with labels, each with its class."""
    classes, few = source.classes, group[:EXAMPLES]
    labels = [source.label(index) for index in few]
    return [
        source.key(index) + (f" ({classes[label]})" if classes and label is not None else "")
        for index, label in zip(few, labels, strict=True)
    ]
