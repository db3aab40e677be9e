"""What a run learns from and is measured on, as plain values in its checkpoints: images, not the places they lie at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nextpatch.core.errors import UserError
from nextpatch.data.fingerprint import changes, fingerprint_from, fingerprint_of
from nextpatch.data.sources.source import Samples

_WORDS = {"train": "training images", "val": "validation images"}


def inputs_of(train: Samples, shares: Sequence[int], val: Samples | None, labels: bool = False) -> dict[str, Any]:
    """Fingerprints of both collections, with their `labels` where these are learned from, and the shares of a mixture.

    No `val`: a part of the training images is held out.
    """
    return {
        "train": asdict(fingerprint_of(train, labels)),
        "val": None if val is None else asdict(fingerprint_of(val, labels)),
        "shares": list(shares),
    }


def differences(then: dict[str, Any], now: dict[str, Any]) -> str:
    """What is other than it was, in words; empty when nothing is, or when one of the two says nothing.

    Times of files are not compared: a copy has others.
    """
    if not then or not now:
        return ""
    if then.get("shares") != now.get("shares"):
        return "other weights of the mixture"
    found = []
    for name, words in _WORDS.items():
        one, other = then.get(name), now.get(name)
        if (one is None) != (other is None):
            found.append(f"{words}: {'a collection of their own' if one else 'held out'} before, now not")
        elif one is not None:
            try:
                different = changes(fingerprint_from(one), fingerprint_from(other), times=False)
            except UserError as error:
                different = str(error)
            found += [f"{words}: {different}"] if different else []
    return "; ".join(found)
