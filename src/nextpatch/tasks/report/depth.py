"""What a probe says about depth: the accuracy of every block, and the last blocks beside the best ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nextpatch.measure.probe_result import PRETRAINED, LayerScore, ProbeResult
from nextpatch.tasks.report.axes import Number


@dataclass(frozen=True)
class DepthRow:
    """A set of blocks by what is special about it ("last block"), its blocks in words, its accuracy in percent."""

    name: str
    blocks: str
    top1: float


@dataclass(frozen=True)
class DepthComparison:
    """The last block, the last ones together and the best, by the images to choose by (Table 7)."""

    labels: int
    rows: tuple[DepthRow, ...]


def depth_sweep(
    sweep: Sequence[LayerScore], features: str = PRETRAINED, probe: str = "attentive"
) -> list[tuple[int, Number]]:
    """(block, best selection accuracy over learning rates) in order of depth, at the most labels (Figure 10)."""
    single = {row: block_number(row.layers) for row in sweep if row.features == features}
    rows = [(row, depth) for row, depth in single.items() if depth is not None]
    most = max((row.labels for row, _ in rows), default=0)
    best: dict[int, Number] = {}
    for row, depth in rows:
        if row.labels == most and row.probe == probe:
            best[depth] = max(row.select_top1, best.get(depth, 0.0))
    return sorted(best.items())


def last_and_best(probe: ProbeResult) -> DepthComparison | None:
    """Selection accuracy of the attentive probe at the most labels: the last block, the last ones together, and the
    best that was read; None when fewer than two sets were, or no attentive probe was kept."""
    sweep = [row for row in probe.sweep if row.features == PRETRAINED and row.probe == "attentive"]
    most = max((row.labels for row in sweep), default=0)
    best: dict[str, float] = {}
    for row in sweep:
        if row.labels == most:
            best[row.layers] = max(row.select_top1, best.get(row.layers, 0.0))
    if len(best) < 2 or probe.attention is None:
        return None
    end = max(map(_end, best))
    top = max(best, key=lambda layers: best[layers])
    named = {layers: "last block" if _start(layers) == end else "last blocks" for layers in best if _end(layers) == end}
    named[top] = f"{named[top]}, the best" if top in named else "best"
    shown = sorted(named, key=lambda layers: (layers == top, -_start(layers)))
    return DepthComparison(most, tuple(DepthRow(named[layers], _words(layers), best[layers]) for layers in shown))


def layers_text(layers: Sequence[str] | None) -> str:
    """Layer names for people: consecutive blocks become "blocks 4–9"."""
    depths = [block_number(name) for name in layers or ()]
    known = [depth for depth in depths if depth is not None]
    if len(known) > 1 and known == list(range(known[0], known[0] + len(layers or ()))):
        return f"blocks {known[0]}–{known[-1]}"
    return ", ".join(name.replace("_", " ") for name in layers or ()) or "–"


def block_number(layers: str) -> int | None:
    """The number of a single block; None for a set of several, or of none."""
    number_of = layers.removeprefix("block_")
    return int(number_of) if layers.startswith("block_") and number_of.isdigit() else None


def _numbers(layers: str) -> list[int]:
    return [int(part) for part in layers.removeprefix("block_").replace(",", "-").split("-") if part.isdigit()]


def _end(layers: str) -> int:
    return max(_numbers(layers), default=-1)


def _start(layers: str) -> int:
    return min(_numbers(layers), default=-1)


def _words(layers: str) -> str:
    numbers = _numbers(layers)
    if "," in layers or len(numbers) < 2:
        return layers.replace("_", " ")
    return layers_text([f"block_{i}" for i in range(numbers[0], numbers[-1] + 1)])
