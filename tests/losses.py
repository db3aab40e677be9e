"""The paper's objective as functions of (model, images, prefix lengths), for tests that choose the prefixes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nextpatch.model.aim import AIM, patches_of
from nextpatch.model.config import ModelConfig
from nextpatch.model.names import TARGETS
from nextpatch.objective.chosen import Chosen
from nextpatch.objective.next_patch import PREFIX_LEN, NextPatch, with_prefix


def loss_sum(model: AIM, images: Tensor, prefix_len: Tensor) -> Tensor:
    return NextPatch(model.cfg).loss_sum(model, images, with_prefix(prefix_len))


def patch_losses(model: AIM, images: Tensor, prefix_len: Tensor, mode: str = "prefix") -> Tensor:
    return score(model, predict(model, images, prefix_len, mode), images, prefix_len)


def predict(model: AIM, images: Tensor, prefix_len: Tensor | None = None, mode: str = "prefix") -> Tensor:
    if mode == "bidirectional":
        return model.predict(patches_of(images, model.cfg), None)
    return NextPatch(replace(model.cfg, attention=mode)).predict(model, images, with_prefix(prefix_len))


def score(model: AIM, predicted: Tensor, images: Tensor, prefix_len: Tensor) -> Tensor:
    return NextPatch(model.cfg).score(model, predicted, images, with_prefix(prefix_len))


def scored_count(prefix_len: Tensor, num_patches: int) -> int:
    return int((num_patches - prefix_len).sum())


def prefix_lengths(cfg: ModelConfig, seed: int, positions: Tensor) -> Tensor:
    return NextPatch(cfg).draw(seed, positions)[PREFIX_LEN]


def targets(patches: Tensor, target: str) -> Tensor:
    """What the head must give for patches, in the name of the target alone."""
    rows = patches.reshape(-1, patches.shape[-1])
    cfg = ModelConfig("nano", (1, len(rows) + 1), 1, rows.shape[-1])
    images = torch.cat([rows, rows[:1]]).T[None, :, None]  # patches of one pixel: their values are its channels
    index = torch.arange(len(rows)).reshape(patches.shape[:-1])
    return TARGETS[target](cfg).wanted(Chosen(images, patches_of(images, cfg), index))
