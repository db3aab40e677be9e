"""What chance decides in the objective of generation: pure functions of (seed, position of the sample in the run)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from nextpatch.core.random import Stream, rng_at
from nextpatch.model.config import ModelConfig
from nextpatch.objective.objective import Draws

KNOWN = "known"  # how many patches, the first of the order, are given
ORDER = "order"  # the raster index of each patch of the sequence, where every image has an order of its own
NOISE = "noise"  # a seed, where the loss of a patch has chance in it
UNLABELLED = "unlabelled"  # whether the class is not told
LABEL = "label"  # the class that is told, -1 for none


def drawn(cfg: ModelConfig, seed: int, positions: Int[Tensor, " batch"]) -> Draws:
    """How many patches are known, uniform on 0 .. K-1 (none with causal attention); and what else is drawn."""
    known = _known(cfg, seed, positions)
    return _with_chance(cfg, seed, positions, known, _orders(cfg, seed, positions, known))


def examples(cfg: ModelConfig) -> Draws:
    """Nothing known, a third, a half and all but one; with causal attention nothing, in as many orders."""
    count = cfg.num_patches
    known = torch.tensor(sorted({0, count // 3, count // 2, count - 1}) if cfg.attention == "prefix" else [0, 0])
    positions = torch.arange(len(known))
    return _with_chance(cfg, 0, positions, known, _orders(cfg, 0, positions, known))


def shown(cfg: ModelConfig, batch: int) -> Draws:
    """The same for every sample: the upper half is known, or half of a single row, or half of a fixed order.

    With causal attention, too: no more is seen for it.
    """
    rows, columns = cfg.grid
    known = torch.full((batch,), max(1, rows // 2 * columns if rows > 1 else columns // 2))
    return _with_chance(cfg, 0, torch.zeros(batch, dtype=torch.int64), known, torch.arange(cfg.num_patches))


def _with_chance(cfg: ModelConfig, seed: int, positions: Tensor, known: Tensor, order: Tensor) -> Draws:
    """With what this model has a use for."""
    found = {KNOWN: known}
    if cfg.draws_order:
        found[ORDER] = order.expand(len(known), -1)
    if cfg.is_distribution:
        found[NOISE] = _seeds(seed, positions)
    if cfg.classes:
        found[UNLABELLED] = _unlabelled(cfg, seed, positions)
    return Draws(found)


def _known(cfg: ModelConfig, seed: int, positions: Tensor) -> Int[Tensor, " batch"]:
    if cfg.attention == "causal":
        return torch.zeros_like(positions)
    found = [rng_at(seed, Stream.PREFIX, position).integers(0, cfg.num_patches) for position in positions.tolist()]
    return torch.tensor(found, dtype=torch.int64)


def _orders(
    cfg: ModelConfig, seed: int, positions: Tensor, known: Int[Tensor, " batch"]
) -> Int[Tensor, "batch patches"]:
    """All orders are equally likely: patches are sorted by raw words, which NumPy promises never to change.

    Of `known_first` the known ones are a set, all sets equally likely: they, and then the others, in raster order.
    """
    words = (_words(rng_at(seed, Stream.IMAGE_ORDER, one), cfg.num_patches) for one in positions.tolist())
    found = [torch.from_numpy(np.argsort(one, kind="stable")) for one in words]
    if cfg.order == "known_first":
        pairs = zip(found, known.tolist(), strict=True)
        found = [torch.cat([one[:count].sort().values, one[count:].sort().values]) for one, count in pairs]
    return torch.stack(found) if found else torch.empty(0, cfg.num_patches, dtype=torch.int64)


def _seeds(seed: int, positions: Tensor) -> Int[Tensor, " batch"]:
    words = [_words(rng_at(seed, Stream.NOISE, one), 1).view(np.int64)[0] for one in positions.tolist()]
    return torch.tensor(words, dtype=torch.int64)


def _unlabelled(cfg: ModelConfig, seed: int, positions: Tensor) -> Bool[Tensor, " batch"]:
    shares = [_words(rng_at(seed, Stream.UNLABELLED, one), 1)[0] / 2.0**64 for one in positions.tolist()]
    return torch.tensor(shares, dtype=torch.float64) < cfg.label_dropout


def _words(rng: np.random.Generator, count: int) -> np.ndarray:
    words: np.ndarray = rng.bit_generator.random_raw(count)
    return words
