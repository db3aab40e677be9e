"""An attentive classifier as a file: the released names, and beside them what it reads and what its classes are."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn

from nextpatch.config import from_dict, to_dict
from nextpatch.core.tensors import save_safetensors
from nextpatch.core.text import shown
from nextpatch.data.preprocessing import Preprocessing
from nextpatch.model.attentive import AttentiveClassifier
from nextpatch.model.config import InferenceAttention
from nextpatch.model.weights import PREDICTS
from nextpatch.weights.error import WeightsError
from nextpatch.weights.tensors import read_tensors

_MARKED = 64  # values of a tensor that its mark looks at


@dataclass(frozen=True)
class ClassifierHead:
    """A classifier with the blocks whose mean it reads, and the names of its classes (none: numbers).

    `trunk` is the `mark_of` the trunk that it was fitted to, `img_size` and `preprocessing` are how images were seen
    then, where that is known. `attention` is that of the features that it reads.
    """

    classifier: AttentiveClassifier
    layers: tuple[str, ...]
    classes: tuple[str, ...] = ()
    trunk: str = ""
    img_size: tuple[int, int] | None = None
    preprocessing: Preprocessing | None = None
    attention: InferenceAttention = "bidirectional"

    def __post_init__(self) -> None:
        if self.classes and len(self.classes) != self.classifier.linear.out_features:
            raise WeightsError(
                f"the classifier gives {self.classifier.linear.out_features} classes and has names for "
                f"{len(self.classes)}; measure again: nextpatch probe"
            )


def classifier_of(state: Mapping[str, Tensor], num_heads: int) -> AttentiveClassifier:
    """The classifier of a state with the released names, without "head."; its weights are the given tensors.

    WeightsError when they are not those of one.
    """
    weight = state.get("linear.weight", torch.empty(0))
    if weight.ndim != 2 or num_heads < 1 or weight.shape[1] % num_heads:
        raise WeightsError(
            f"no classifier of {num_heads} heads has a linear layer of shape {tuple(weight.shape)}; is the file whole?"
        )
    with torch.device("meta"):
        classifier = AttentiveClassifier(weight.shape[1], num_heads, weight.shape[0], "linear.bias" in state)
    try:
        classifier.load_state_dict(in_float32(state), assign=True)
    except RuntimeError as error:
        reason = shown(" ".join(str(error).split())[:300])
        raise WeightsError(f"these are not the tensors of a classifier ({reason}); is the file whole?") from None
    return classifier.eval()


def in_float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor of floats as float32, whatever it is stored in; those that are already are not copied."""
    return {name: t.to(torch.float32) if t.is_floating_point() else t for name, t in state.items()}


@torch.no_grad()
def mark_of(trunk: nn.Module, beside: tuple[str, ...] = ()) -> str:
    """A digest of some values of every tensor of a trunk, of any size in a moment; what predicts does not count, nor
    names that begin like one of `beside`.

    Values are rounded to bfloat16, so that a trunk keeps its mark when its matrices are converted for computing. One
    step of training changes it.
    """
    total = hashlib.sha256()
    for name, tensor in sorted(trunk.state_dict().items()):
        if not name.startswith(PREDICTS + beside):
            flat = tensor.detach().reshape(-1)
            some = flat[:: max(1, len(flat) // _MARKED)][:_MARKED].to(torch.bfloat16).cpu()
            total.update(f"{name} {tuple(tensor.shape)}\n".encode())
            total.update(some.contiguous().view(torch.uint8).numpy().data)
    return total.hexdigest()


def save_classifier_head(path: Path, head: ClassifierHead) -> None:
    """Written aside and renamed: a reader sees the old one or the new one."""
    facts = {
        "layers": json.dumps(list(head.layers)),
        "classes": json.dumps(list(head.classes)),
        "num_heads": str(head.classifier.num_heads),
        **({"trunk": head.trunk} if head.trunk else {}),
        **({"img_size": json.dumps(head.img_size)} if head.img_size else {}),
        **({"preprocessing": json.dumps(to_dict(head.preprocessing))} if head.preprocessing else {}),
        **attention_facts(head.attention),
    }
    save_safetensors(path, head.classifier.state_dict(), facts)


def read_classifier_head(path: Path) -> ClassifierHead:
    """What `save_classifier_head` wrote; WeightsError when it is another kind of file."""
    state, facts = read_tensors(path)
    try:
        layers, classes = (texts(facts[name]) for name in ("layers", "classes"))
        if not layers or not all(re.fullmatch(r"block_\d{1,4}", layer) for layer in layers):
            raise ValueError("it reads no blocks")
        classifier = classifier_of(state, int(facts["num_heads"]))
        return ClassifierHead(
            classifier, layers, classes, facts.get("trunk", ""), *_seen(facts, path), attention_in(facts)
        )
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        reason = shown(" ".join(str(error).split())[:200])
        raise WeightsError(
            f"{shown(path)} is not a probe of this version ({reason}); measure again: nextpatch probe"
        ) from None


def attention_facts(attention: InferenceAttention) -> dict[str, str]:
    """What a file says of the attention by which features are computed; bidirectional goes without saying."""
    return {} if attention == "bidirectional" else {"attention": attention}


def attention_in(facts: Mapping[str, str]) -> InferenceAttention:
    """What `attention_facts` wrote; ValueError for anything else."""
    said = facts.get("attention", "bidirectional")
    for known in get_args(InferenceAttention):
        if said == known:
            found: InferenceAttention = known
            return found
    raise ValueError(f"there is no attention {said[:40]!r}")


def _seen(facts: Mapping[str, str], path: Path) -> tuple[tuple[int, int] | None, Preprocessing | None]:
    """How images were seen, by a file; None for what it does not say. ValueError for what is no size."""
    size, reading = (json.loads(facts.get(name, "null")) for name in ("img_size", "preprocessing"))
    if size is not None and (not isinstance(size, list) or [type(side) for side in size] != [int, int]):
        raise ValueError("img_size is not a height and width")
    found = None if reading is None else from_dict(Preprocessing, reading, f"{shown(path)}, preprocessing")
    return (size[0], size[1]) if size else None, found


def texts(written: str) -> tuple[str, ...]:
    """A list of texts in JSON; ValueError for anything else."""
    try:
        values = json.loads(written)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{written[:40]!r} is not a list of texts")
    return tuple(values)


def numbered(layers: Sequence[str]) -> list[int]:
    """Numbers of blocks by their names."""
    return [int(layer.removeprefix("block_")) for layer in layers]
