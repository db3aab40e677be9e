"""What a run takes from the tokenizer whose codes it predicts; what was given otherwise is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nextpatch.core.errors import ConfigError
from nextpatch.core.text import format_flops, shown
from nextpatch.model.config import ModelConfig
from nextpatch.objective.cost import target_flops, train_step_flops
from nextpatch.tasks.pretrain.draft import Draft
from nextpatch.tokenizer.tokenizer import open_tokenizer

_FIT = "nextpatch tokenizer fit DATA --out tokenizer.safetensors"


def choose_by_tokenizer(draft: Draft) -> None:
    """Patch size, channels, mean and deviation, number of codes and digest; nothing where codes are not the target.

    Raises ConfigError where there is no tokenizer, or a value is not the tokenizer's, TokenizerError for a file that is
    none.
    """
    if draft.value("model", "target", "") != "tokens":
        return
    name = draft.value("model", "tokenizer", "")
    if not name:
        raise ConfigError(f"model.target tokens needs a tokenizer: --model.tokenizer FILE; fit one with: {_FIT}")
    found = open_tokenizer(Path(name))
    what = f"of the tokenizer {shown(name)}"
    for table, field, value in (
        ("model", "patch_size", found.patch_size), ("model", "in_chans", found.in_chans),
        ("data", "mean", list(found.mean)), ("data", "std", list(found.std)),
    ):  # fmt: skip
        _settle(draft, table, field, value, what, f"; leave it out, or fit a tokenizer that has it: {_FIT}")
    _settle(draft, "model", "codes", found.codes, f"{what}, kind {found.kind}", "; leave it out")
    _settle(draft, "model", "tokenizer_sha256", found.digest, what, "; give the tokenizer that has it, or leave it out")


def tell_operations(draft: Draft, cfg: ModelConfig) -> None:
    """What the codes of an image take, beside its forward and backward."""
    if cfg.target == "tokens":
        coding, step = format_flops(target_flops(cfg)), format_flops(train_step_flops(cfg))
        draft.choices.append(f"operations: {step} an image, forward and backward, and {coding} for its codes (float32)")


def _settle(draft: Draft, table: str, field: str, value: Any, what: str, remedy: str) -> None:
    given = draft.value(table, field, None)
    if not draft.open(table, field) and _plain(given) != value:
        raise ConfigError(f"{table}.{field} {_text(given)} is not that {what}, {_text(value)}{remedy}")
    draft.choose(table, field, value, what)


def _plain(value: Any) -> Any:
    return list(map(float, value)) if isinstance(value, (list, tuple)) else value


def _text(value: Any) -> str:
    return " ".join(f"{one:g}" for one in value) if isinstance(value, (list, tuple)) else shown(str(value))
