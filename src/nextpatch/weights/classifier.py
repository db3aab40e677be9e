"""An attentive classifier as a file: the released names, and beside them what it reads and what its classes are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nextpatch.model.attentive import AttentiveClassifier
from nextpatch.train.checkpoint import save_tensors, sync
from nextpatch.weights.error import WeightsError
from nextpatch.weights.tensors import read_tensors


@dataclass(frozen=True)
class Readout:
    """A classifier with the blocks whose mean it reads, and the names of its classes (none: numbers)."""

    classifier: AttentiveClassifier
    layers: tuple[str, ...]
    classes: tuple[str, ...] = ()


def classifier_of(state: Mapping[str, Tensor], num_heads: int) -> AttentiveClassifier:
    """The classifier of a state with the released names, without "head."; its weights are the given tensors."""
    weight = state["linear.weight"]
    with torch.device("meta"):
        classifier = AttentiveClassifier(weight.shape[1], num_heads, weight.shape[0], "linear.bias" in state)
    classifier.load_state_dict(dict(state), assign=True)
    return classifier.eval()


def save_readout(path: Path, readout: Readout) -> None:
    """Written aside and renamed: a reader sees the old one or the new one."""
    facts = {
        "layers": json.dumps(list(readout.layers)),
        "classes": json.dumps(list(readout.classes)),
        "num_heads": str(readout.classifier.num_heads),
    }
    aside = path.with_name(f".{path.name}.unfinished")
    save_tensors(aside, readout.classifier.state_dict(), facts)
    sync(aside)
    aside.replace(path)


def read_readout(path: Path) -> Readout:
    """What `save_readout` wrote; WeightsError when it is another kind of file."""
    state, facts = read_tensors(path)
    try:
        layers, classes = (tuple(json.loads(facts[name])) for name in ("layers", "classes"))
        return Readout(classifier_of(state, int(facts["num_heads"])), layers, classes)
    except (KeyError, ValueError, RuntimeError):
        raise WeightsError(f"{path} is no probe of this version; measure again: nextpatch probe") from None


def numbered(layers: Sequence[str]) -> list[int]:
    """Numbers of blocks by their names."""
    return [int(layer.removeprefix("block_")) for layer in layers]
