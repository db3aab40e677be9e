"""Generation against a plain float64 formulation: tokens behind a start token, orders, classes, heads, losses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import reference
from nextpatch.model.config import ModelConfig
from nextpatch.objective.generate import Generate
from nextpatch.objective.generate_draws import KNOWN, LABEL, ORDER
from nextpatch.objective.objective import Draws
from nextpatch.tokenizer.tokenizer import open_tokenizer
from reference_variants import block, checkerboard, depth, nearest
from tokenizers_made import of_tokens
from variants import SMALL, built, images_of

BATCH, GRID = 3, (2, 3)
PIXELS = {"objective": "generate", "target": "pixels"}
KINDS: dict[str, dict[str, Any]] = {
    "pixels": PIXELS,
    "pixels, causal, checkerboard, no head": {
        **PIXELS, "attention": "causal", "order": "checkerboard", "head": "none",
    },
    "pixels, any order, transformer, classes": {
        **PIXELS, "order": "any", "head": "transformer", "classes": 4, "label_dropout": 0.5,
    },
    "tokens, any order": {"target": "tokens", "order": "any"},
    "tokens, causal, transformer": {"target": "tokens", "attention": "causal", "head": "transformer"},
    "flow, any order": {"head": "flow", "order": "any"},
    "flow, known first": {"head": "flow", "order": "known_first"},
    "diffusion, classes": {"head": "diffusion", "classes": 4, "label_dropout": 0.0},
}  # fmt: skip


def configured(values: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    sizes = {**SMALL, "img_size": (2 * GRID[0], 2 * GRID[1])}
    if values.get("target") != "tokens":
        return ModelConfig(**sizes, **values)
    shape = {name: values.get(name, default) for name, default in (("head", "mlp"), ("attention", "prefix"))}
    cfg = of_tokens({**sizes, **shape}, folder, monkeypatch)
    return replace(cfg, objective="generate", order=values.get("order", "raster"))


def orders_of(cfg: ModelConfig, draws: Draws) -> list[list[int]]:
    if ORDER in draws:
        return draws[ORDER].tolist()
    return [checkerboard(*GRID) if cfg.order == "checkerboard" else list(range(6))] * BATCH


def outputs_of(state: reference.State, cfg: ModelConfig, images: Tensor, draws: Draws) -> Tensor:
    """What the head gives at every turn, image by image: for each the sequence is written down."""
    place = reference.positions(*GRID, cfg.embed_dim)
    for_head = reference.positions(*GRID, cfg.head_width)
    content = reference.layer_norm(
        state, "patch_embed.norm", reference.linear(state, "patch_embed.proj", reference.patchify(images, 2))
    )
    found = []
    for image, order in enumerate(orders_of(cfg, draws)):
        start = state["start.token"]
        if LABEL in draws and draws[LABEL][image] >= 0:
            start = start + state["start.classes"][draws[LABEL][image]]
        sequence = [start] + [content[image, patch] + place[patch] for patch in order[:-1]]
        if cfg.draws_order:
            ahead = state["start.next_place.weight"]
            sequence = [token + ahead @ place[patch] for token, patch in zip(sequence, order, strict=True)]
        x = torch.stack(sequence)[None]
        may = reference.allowed(cfg.attention, [int(draws[KNOWN][image]) + 1], len(order))
        for n in range(depth(state, "trunk")):
            x = block(state, f"trunk.blocks.{n}", x, cfg.num_heads, may)
        x = reference.layer_norm(state, "trunk.post_trunk_norm", x)
        found.append(head_of(state, cfg, x, for_head[order], may)[0])
    return torch.stack(found)


def head_of(state: reference.State, cfg: ModelConfig, x: Tensor, place: Tensor, may: list[list[list[bool]]]) -> Tensor:
    if cfg.head == "none":
        return reference.linear(state, "head.pred", x)
    h = reference.linear(state, "head.proj", x) + place
    if cfg.is_distribution:
        return h
    for n in range(depth(state, "head")):
        if cfg.head == "transformer":
            h = block(state, f"head.blocks.{n}", h, cfg.head_width * cfg.num_heads // cfg.embed_dim, may)
        else:
            inner = reference.layer_norm(state, f"head.blocks.{n}.norm", h)
            h = h + reference.mlp(state, f"head.blocks.{n}.mlp", inner)
    return reference.linear(state, "head.pred", reference.layer_norm(state, "head.norm", h))


def losses_of(cfg: ModelConfig, images: Tensor, outputs: Tensor, draws: Draws) -> Tensor:
    """The sum over patches that are not known."""
    patches, total = reference.patchify(images, 2), torch.zeros((), dtype=torch.float64)
    codes = []
    if cfg.target == "tokens":
        tokenizer = open_tokenizer(Path(cfg.tokenizer))
        codes = nearest(patches, tokenizer.centers.double(), tokenizer.norm)
    for image, order in enumerate(orders_of(cfg, draws)):
        for turn in range(int(draws[KNOWN][image]), len(order)):
            output, patch = outputs[image, turn], order[turn]
            if codes:
                total = total - (output.exp() / output.exp().sum())[codes[image][patch]].log()
            else:
                total = total + ((output - patches[image, patch]) ** 2).mean()
    return total


@pytest.mark.parametrize("values", KINDS.values(), ids=KINDS)
def test_outputs_losses_and_gradients_are_the_references(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = configured(values, tmp_path, monkeypatch)
    objective, model, images = Generate(cfg), built(cfg), images_of(cfg, BATCH)
    draws = objective.labelled(objective.draw(5, torch.arange(BATCH)), torch.tensor([3, 0, 1]))
    state = {name: tensor.detach().clone().requires_grad_() for name, tensor in model.state_dict().items()}
    wanted = outputs_of(state, cfg, images, draws)
    torch.testing.assert_close(objective.predict(model, images, draws), wanted, rtol=1e-10, atol=1e-12)
    if cfg.is_distribution:  # its losses: tests/model/test_distributions.py
        return
    total = losses_of(cfg, images, wanted, draws)
    torch.testing.assert_close(objective.position_losses(model, images, draws).sum(), total, rtol=1e-10, atol=0)
    found = objective.loss_sum(model, images, draws)
    torch.testing.assert_close(found, total, rtol=1e-10, atol=0)
    found.backward()
    total.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, state[name].grad, rtol=1e-8, atol=1e-10, msg=name)


def test_features_stand_behind_a_start_token_and_are_given_for_patches_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In raster order, where orders are drawn too; the last patch, which nothing follows, is told its own place."""
    cfg = configured({"head": "flow", "order": "any", "classes": 2}, tmp_path, monkeypatch)
    model, images = built(cfg), images_of(cfg, 2)
    state = model.state_dict()
    place = reference.positions(*GRID, cfg.embed_dim)
    content = reference.linear(state, "patch_embed.proj", reference.patchify(images, 2))
    tokens = reference.layer_norm(state, "patch_embed.norm", content) + place
    x = torch.cat([state["start.token"].expand(2, 1, -1), tokens], dim=1)
    x = x + place[[0, 1, 2, 3, 4, 5, 5]] @ state["start.next_place.weight"].T
    for mode, known in (("bidirectional", None), ("causal", None), ("prefix", [2, 4])):
        may, y = reference.allowed(mode, [n + 1 for n in known or [0, 0]], 7), x
        for n in range(depth(state, "trunk")):
            y = block(state, f"trunk.blocks.{n}", y, cfg.num_heads, may)
        prefix = None if known is None else torch.tensor(known)
        found = model(images, mode, prefix, ["block_1"])["block_1"]
        torch.testing.assert_close(found, y[:, 1:], rtol=1e-10, atol=1e-12)
