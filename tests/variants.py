"""All combinations of order, attention or masking, target, head and grid; a few of them hold every pair of values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from itertools import combinations, product
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.model.names import DISTRIBUTIONS
from tokenizers_made import of_tokens

VALUES = {
    "order": ("raster", "spiral", "checkerboard", "random"),
    "attention": ("prefix", "causal", "masked"),
    "target": ("norm_pixels", "pixels", "kmeans", "dvae"),
    "head": ("mlp", "none", "transformer"),
    "grid": ((3, 3), (2, 3)),
}

SMALL = {"size": "nano", "patch_size": 2, "in_chans": 3, "embed_dim": 16, "depth": 2, "num_heads": 2}
SMALL |= {"head_width": 24, "head_depth": 2}


@dataclass(frozen=True)
class Variant:
    order: str
    attention: str
    target: str
    head: str
    grid: tuple[int, int]

    def __str__(self) -> str:
        return "-".join([self.order, self.attention, self.target, self.head, "x".join(map(str, self.grid))])

    @property
    def exists(self) -> bool:
        """The objective masked sees all places at once and has no order."""
        return self.attention != "masked" or self.order == "raster"

    @property
    def tokens(self) -> bool:
        """Whether codes are predicted; `target` is the kind of tokenizer then."""
        return not self.target.endswith("pixels")

    def config(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
        """Small widths that all differ; a tokenizer is written into `folder`."""
        values = {**SMALL, "img_size": (2 * self.grid[0], 2 * self.grid[1]), "order": self.order, "head": self.head}
        values |= {"order_seed": 3 if self.order == "random" else 0}
        masked = {"objective": "masked", "mask_ratio": 0.6}
        values |= masked if self.attention == "masked" else {"attention": self.attention}
        if self.tokens:
            return of_tokens(values, folder, monkeypatch, kind=self.target)
        return ModelConfig(**values, target=self.target)


GENERATE_VALUES = {
    "head": ("flow", "diffusion", "density", "kmeans", "dvae-transformer"),
    "order": ("raster", "any", "known_first"),
    "attention": ("prefix", "causal"),
    "beside": ("", "paper_loss", "classes"),
}


@dataclass(frozen=True)
class Generating:
    """A variant of the objective generate. `head` is that, or the target of an MLP head or of another."""

    head: str
    order: str
    attention: str
    beside: str

    def __str__(self) -> str:
        return "-".join(part for part in ("generate", self.head, self.order, self.attention, self.beside) if part)

    @property
    def exists(self) -> bool:
        """The paper's loss stands beside a distribution; an order that knows some patches first has a prefix."""
        known_first = self.order == "known_first" and self.attention == "causal"
        return not known_first and (self.beside != "paper_loss" or self.head in DISTRIBUTIONS)

    def config(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
        """As those of `Variant`."""
        kind, _, head = self.head.partition("-")
        values = {**SMALL, "img_size": (4, 6), "attention": self.attention}
        more = {"order": self.order, "order_seed": 3 if self.order == "random" else 0}
        more |= {"": {}, "paper_loss": {"paper_loss": 0.5}, "classes": {"classes": 3}}[self.beside]
        if kind in DISTRIBUTIONS:
            return ModelConfig(**values, **more, head=kind)
        if kind == "pixels":
            return ModelConfig(**values, **more, objective="generate", target="pixels")
        cfg = of_tokens({**values, "head": head or "mlp"}, folder, monkeypatch, kind=kind)
        return replace(cfg, objective="generate", **more)


V = TypeVar("V", Variant, Generating)


def every_pair(variants: Iterable[V]) -> list[V]:
    """A few of them in which any two values meet that meet in some of all: the next is the one with most new pairs."""
    left = list(variants)
    pairs = {variant: set(combinations(enumerate(astuple(variant)), 2)) for variant in left}
    missing, chosen = set().union(*pairs.values()), []
    while missing:
        chosen.append(max(left, key=lambda variant: len(pairs[variant] & missing)))
        missing -= pairs[chosen[-1]]
    return chosen


ALL = [variant for values in product(*VALUES.values()) if (variant := Variant(*values)).exists]
FEW = every_pair(ALL)
GENERATES = [one for values in product(*GENERATE_VALUES.values()) if (one := Generating(*values)).exists]
FEW_GENERATE = every_pair(GENERATES)
per_variant = pytest.mark.parametrize(
    "variant", [pytest.param(v, marks=() if v in FEW else pytest.mark.slow, id=str(v)) for v in ALL]
)
per_generating = pytest.mark.parametrize(
    "variant", [pytest.param(v, marks=() if v in FEW_GENERATE else pytest.mark.slow, id=str(v)) for v in GENERATES]
)


def built(cfg: ModelConfig) -> AIM:
    """In float64, no parameter at a special value: a zero bias or a norm of ones would hide that one is missing."""
    model, generator = AIM(cfg), torch.Generator().manual_seed(1)
    init_weights(model, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.double()


def images_of(cfg: ModelConfig, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, cfg.in_chans, *cfg.img_size, generator=generator, dtype=torch.float64)
