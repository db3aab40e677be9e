"""Blocks that are compiled, or computed again in backward, give the losses and gradients of plain ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nextpatch.dist.config import EngineConfig
from nextpatch.dist.materialize import materialize
from nextpatch.model.config import ModelConfig
from nextpatch.objective.registry import objective_of
from ranks import run_alone
from tokenizers_made import of_tokens
from variants import SMALL

VARIANTS: dict[str, dict[str, Any]] = {
    "transformer": {"head": "transformer"},
    "transformer, masked": {"head": "transformer", "objective": "masked"},
    "tokens in spiral order": {"order": "spiral", "target": "tokens"},
    "masked tokens": {"objective": "masked", "target": "tokens"},
    "flow in any order, enlarging": {"head": "flow", "order": "any", "upscale": 2},
}
BATCHES = (3, 2, 4)  # of other sizes, hence of other numbers of rows


def computed(cfg: ModelConfig, **engine: Any) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """Packed and plain loss of each batch, and the gradients of their packed sum."""
    model, objective = materialize(cfg, 0, engine=EngineConfig(**engine)), objective_of(cfg)
    losses = []
    for batch in BATCHES:
        images = torch.randn(batch, cfg.in_chans, *cfg.img_size, generator=torch.Generator().manual_seed(batch))
        draws = objective.draw(0, torch.arange(batch, 2 * batch))
        packed = objective.loss_sum(model, images, draws)
        packed.backward()
        losses += [packed.detach(), objective.position_losses(model, images, draws).sum().detach()]
    return losses, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def deviation(cfg: ModelConfig, **engine: Any) -> float:
    """The largest relative one of a loss or of a parameter's gradient, from those of plain blocks."""
    (plain, theirs), (losses, ours) = computed(cfg), computed(cfg, **engine)
    assert ours.keys() == theirs.keys()
    pairs = [*zip(losses, plain, strict=True), *((ours[name], theirs[name]) for name in theirs)]
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


def config(name: str, folder: Path) -> ModelConfig:
    values = {**SMALL, "img_size": (4, 6), **VARIANTS[name]}
    if values.pop("target", "") == "tokens":
        return of_tokens(values, folder, pytest.MonkeyPatch())
    return ModelConfig(**values)


@pytest.mark.parametrize("how", ["full", "selective"])
@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_computed_again_is_the_same(name: str, how: str, tmp_path: Path) -> None:
    assert deviation(config(name, tmp_path), activation_checkpointing=how) < 1e-6


def compiled(name: str, how: str, folder: str) -> list[float]:
    """Deviation and number of graphs; a graph that breaks is an error, as in training."""
    graphs, compile_ = [], nn.Module.compile

    def counted(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    nn.Module.compile = lambda self, **options: compile_(self, backend=counted, **options)  # type: ignore
    found = deviation(config(name, Path(folder)), compile=True, activation_checkpointing=how)
    return [found, len(graphs)]


@pytest.mark.parametrize(
    ("name", "how"), [*((name, "none") for name in VARIANTS), ("transformer", "full")]
)
def test_what_is_compiled_is_the_same(name: str, how: str, tmp_path: Path) -> None:
    """The graphs are traced, as for any compiler, and run as they are."""
    found, graphs = run_alone(compiled, name, how, str(tmp_path))
    assert found < 1e-6
    assert graphs > 0
