"""Samples that cannot be used: why, how many of each reason, and when that is too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from nextpatch.data.decode import BadImage
from nextpatch.data.error import DataError

FORGIVEN = 10  # bad samples in any number: a few in a small folder are no reason to stop


class Skipped(NamedTuple):
    """Why a sample is left out: a kind to count by, the full reason, and the source it is from."""

    kind: str
    reason: str
    source: str


Bad = dict[str, Skipped]  # by key


def skipped(error: BadImage | OSError, source: str) -> Skipped:
    """What an error says about a sample of a source."""
    return Skipped(getattr(error, "kind", "unreadable"), str(error), source)


def summary(bad: Mapping[str, Skipped]) -> str:
    """The commonest reasons, each with its count and an example."""
    counts = Counter((entry.kind, entry.reason) for entry in bad.values())
    example = {(entry.kind, entry.reason): key for key, entry in reversed(list(bad.items()))}
    shown = [f"{reason} ({n}x, such as {example[kind, reason]})" for (kind, reason), n in counts.most_common(3)]
    return "; ".join(shown)


def by_kind(bad: Mapping[str, Skipped]) -> str:
    """How many of each kind, the commonest first: "3 damaged, 1 empty"."""
    counts = Counter(entry.kind for entry in bad.values())
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


def none_decodes(name: str, bad: Mapping[str, Skipped]) -> DataError:
    """The error for a source of which no image tried can be used: how many, why, and an example of each reason."""
    return DataError(
        f"no image of {name} can be used; all {len(bad)} tried failed: {summary(bad)}. "
        "Check that the files are images, with as many channels as the model takes"
    )


def check_budget(bad: Mapping[str, Skipped], seen: int, share: float) -> None:
    """DataError when of the `seen` samples met so far more than FORGIVEN are bad, and clearly more than `share`.

    Clearly: by three standard deviations of chance, or else a collection just within the budget would stop early on.
    """
    allowed = share * seen
    if len(bad) > max(FORGIVEN, allowed + 3 * allowed**0.5):
        raise DataError(
            f"{len(bad)} of the first {seen:,} samples cannot be used ({len(bad) / seen:.1%}; data.max_bad allows "
            f"{share:.1%}): {by_kind(bad)}. {summary(bad)}. bad_samples.jsonl names each; repair or remove them, or "
            "raise data.max_bad"
        )
