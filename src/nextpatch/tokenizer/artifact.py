"""A tokenizer as a file: tensors, and facts as JSON in the file's metadata; a copy of the facts lies beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nextpatch.config import from_dict, to_dict
from nextpatch.core.bounds import check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.files import write_json
from nextpatch.core.marks import MARK
from nextpatch.core.reading import parse_json
from nextpatch.core.tensors import digest_of_tensors, read_safetensors, save_safetensors
from nextpatch.core.text import shown
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.tokenizer.names import TOKENIZERS

KEY = "tokenizer"  # of the facts, in the metadata of the file
FREQUENCIES = "frequencies"
_WHAT, _REMEDY = "a tokenizer", "fit one: nextpatch tokenizer fit DATA --out tokenizer.safetensors"


@dataclass(frozen=True)
class TokenizerFacts:
    """What a tokenizer is, in values. ConfigError for values that none can have."""

    kind: str
    codes: int
    patch_size: int
    in_chans: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    options: dict[str, Any] = field(default_factory=dict)
    """What its kind must know to compute, by names of its own."""
    fitted: dict[str, Any] = field(default_factory=dict)
    """How it was fitted and how well, for people; nothing is computed from it."""

    def __post_init__(self) -> None:
        TOKENIZERS.check(self.kind)
        check_bounds(
            self, codes=(2, 2**20), patch_size=(1, 4096), in_chans=(1, 4096), mean=(-1e6, 1e6), std=(1e-12, 1e6)
        )
        if not len(self.mean) == len(self.std) == self.in_chans:
            raise ConfigError(f"mean and std need one value for each of {self.in_chans} channels")

    @property
    def patch_dim(self) -> int:
        """Values in one patch: P * P * C."""
        return self.patch_size * self.patch_size * self.in_chans

    def option(self, name: str, kind: type) -> Any:
        """A value of `options`; TokenizerError where it is absent or of another type."""
        value = self.options.get(name)
        if type(value) is not kind:
            raise TokenizerError(f"its option '{name}' is not {kind.__name__}")
        return value


@dataclass(frozen=True)
class Artifact:
    """TokenizerFacts and tensors, on the CPU: all that a tokenizer is made of."""

    facts: TokenizerFacts
    tensors: Mapping[str, Tensor]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of tensors and facts, which the file states as well."""
        return digest_of_tensors(self.tensors, _metadata(self.facts))

    def tensor(self, name: str, *shape: int) -> Tensor:
        """A float32 tensor of a shape; TokenizerError where it is absent, another one, or not finite."""
        found = self.tensors.get(name)
        if found is None:
            raise TokenizerError(f"it has no tensor '{name}'")
        if found.dtype != torch.float32 or tuple(found.shape) != shape:
            raise TokenizerError(
                f"its tensor '{name}' is {list(found.shape)} of {found.dtype}, not {list(shape)} of torch.float32"
            )
        if not bool(torch.isfinite(found).all()):
            raise TokenizerError(f"its tensor '{name}' holds numbers that are not finite")
        return found

    def fill(self, module: nn.Module) -> None:
        """Give a module without values, made on the device "meta", the tensors by its names.

        TokenizerError where one is absent or of another shape.
        """
        wanted = module.state_dict()
        module.load_state_dict({name: self.tensor(name, *empty.shape) for name, empty in wanted.items()}, assign=True)
        module.eval().requires_grad_(False)

    def frequencies(self) -> Tensor:
        """The share of each code, "codes"; TokenizerError where they are no shares."""
        found = self.tensor(FREQUENCIES, self.facts.codes)
        if bool((found < 0).any()) or abs(float(found.double().sum()) - 1) > 1e-3:
            raise TokenizerError("its frequencies do not add up to 1")
        return found


def _metadata(facts: TokenizerFacts) -> dict[str, str]:
    return {KEY: json.dumps(to_dict(facts), sort_keys=True, allow_nan=False)}


def written_with(path: Path) -> Path:
    """The readable copy of the facts that is written beside a tokenizer."""
    return path.with_suffix(".json")


def write_artifact(path: Path, artifact: Artifact) -> None:
    """Write `path` (.safetensors) in one step, then a readable .json beside it; OSError when the disk is full."""
    facts = artifact.facts
    save_safetensors(path, artifact.tensors, _metadata(facts))
    shapes = {name: list(tensor.shape) for name, tensor in artifact.tensors.items()}
    write_json(
        written_with(path),
        {MARK: "tokenizer", **to_dict(facts), "tensors": shapes, "tokenizer_sha256": artifact.digest},
    )


def read_artifact(path: Path) -> Artifact:
    """What `write_artifact` wrote; TokenizerError for a file that is absent, damaged or something else."""
    tensors, metadata = read_safetensors(path, _WHAT, _REMEDY, TokenizerError)
    if KEY not in metadata:
        raise TokenizerError(f"{shown(path)} is not a tokenizer: its metadata have no '{KEY}'; {_REMEDY}")
    values = parse_json(metadata[KEY], path, _WHAT, _REMEDY, TokenizerError)
    try:
        facts = from_dict(TokenizerFacts, values, "its facts", extra_keys=True)
    except (ConfigError, TypeError, AttributeError) as error:
        raise TokenizerError(f"{shown(path)} cannot be read as {_WHAT} ({shown(error)}); {_REMEDY}") from None
    return Artifact(facts, {name: tensor.clone() for name, tensor in tensors.items()})
