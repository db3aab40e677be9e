"""A head that is an exact distribution over the 8-bit values of a patch: its loss is their negative log likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from nextpatch.model.config import ModelConfig
from nextpatch.model.cost import Unit, Workload
from nextpatch.model.heads.candidates import CANDIDATES, drawn_given
from nextpatch.model.heads.distribution import Draw, Known
from nextpatch.model.heads.head import Head
from nextpatch.model.heads.levels import LEVELS, PixelLevels
from nextpatch.model.heads.logistics import MIXTURES
from nextpatch.model.heads.noise import Noise
from nextpatch.model.heads.within import FEATURES, Within
from nextpatch.model.init import Init
from nextpatch.patches import sincos_positions

UNIFORM = 0  # stream of noise (candidates have 1 and 2): the number by which each value is drawn
_LEAST = 1e-30  # a probability that float32 rounded to zero
_KEPT = 16  # numbers that autograd keeps of a component of a mixture


class DensityHead(Head):
    """Condition = feature + position of the TARGET. Given it, the values of a patch follow one another (`Within`).

    Rows, columns and channels of a patch in this order, each value a mixture of logistics over 256 levels: the product
    of these probabilities, over all patches, is that of an image. `head_width` and `head_depth` are those of `Within`.
    """

    positions: Tensor
    unit: ClassVar[str] = "nats a patch"
    guess: ClassVar[str] = "taking all 256 levels of every value as equally probable"

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.within = Within(*_sizes(cfg))
        self.pred = nn.Identity()
        self.levels = PixelLevels(cfg.in_chans)
        self.register_buffer("positions", sincos_positions(cfg.grid, cfg.shape.embed_dim), persistent=False)
        self._grid = cfg.grid

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """Those of the network inside, which alone holds them: a second name would save them twice."""
        return self.within.blocks

    def init_own(self, init: Init) -> None:
        """The table of positions."""
        self.positions.copy_(sincos_positions(self._grid, self.positions.shape[1]))

    def set_grid(self, grid: tuple[int, int]) -> None:
        """Change to images of another size: recomputes the table of positions."""
        self._grid, self.positions = grid, sincos_positions(grid, self.positions.shape[1])

    def measure(self, patches: Iterable[Tensor], mean: Sequence[float], std: Sequence[float]) -> None:
        """Mean and deviation, by which pixels are found again; nothing of the patches."""
        self.levels.measure(mean, std)

    def hidden(
        self,
        rows: Float[Tensor, "*rows dim"],
        input_position: Tensor,
        target_position: Tensor,
        image_of_row: Tensor,
        mask: Tensor | None = None,
    ) -> Float[Tensor, "*rows dim"]:
        """The condition, row by row; only the target's position counts."""
        return rows + self.positions[target_position]

    def losses(
        self, condition: Float[Tensor, "rows dim"], wanted: Float[Tensor, "rows values"], noise: Noise | None = None
    ) -> Float[Tensor, " rows"]:
        """Nats of each patch; nothing is chance."""
        return self.within.nats(condition, self.levels.of(wanted)).sum(dim=-1)

    def sample(
        self,
        condition: Float[Tensor, "rows dim"],
        noise: Noise,
        settings: Draw,
        unguided: Float[Tensor, "rows dim"] | None = None,
        known: Known | None = None,
    ) -> Float[Tensor, "rows values"]:
        """Value by value. Of values that are known those before a value are in its sight, and those behind it weigh
        candidates (`drawn_given`).

        Log probabilities are led away from those without a class and divided by the temperature; with temperature 0 the
        most probable level is taken each time.
        """
        chance = noise.uniform(UNIFORM, self.within.values).double()
        if known is not None:
            times = CANDIDATES
            condition = condition.repeat_interleave(times, dim=0)
            unguided = None if unguided is None else unguided.repeat_interleave(times, dim=0)
        following = self._following(condition, unguided, settings)
        if known is not None:
            return self.levels.pixels(drawn_given(following, _drawn, self._given(known), known.mask, chance, noise))
        levels = torch.zeros(len(condition), 0, dtype=torch.int64, device=condition.device)
        for place in range(self.within.values):
            levels = torch.cat([levels, _drawn(following(levels), chance[:, place])[:, None]], dim=1)
        return self.levels.pixels(levels)

    def _following(self, condition: Tensor, unguided: Tensor | None, settings: Draw) -> Callable[[Tensor], Tensor]:
        """Probabilities of the next level, float64, of the levels before it."""
        begun = self.within.begin(condition)
        other = None if unguided is None or settings.guidance == 1.0 else self.within.begin(unguided)

        def following(levels: Int64[Tensor, "rows place"]) -> Float64[Tensor, "rows levels"]:
            logits = self.within.step(begun, levels).double().clamp_min(_LEAST).log()
            if other is not None:
                without = self.within.step(other, levels).double().clamp_min(_LEAST).log()
                logits = without + settings.guidance * (logits - without)
            if settings.temperature == 0.0:
                return (logits == logits.amax(dim=1, keepdim=True)).double()
            return (logits / settings.temperature).softmax(dim=-1)

        return following

    def _given(self, known: Known) -> Int64[Tensor, "rows values"]:
        """Levels of what is known, 0 elsewhere."""
        black = self.levels.pixels(torch.zeros_like(known.mask, dtype=torch.int64))
        return self.levels.of(known.values.to(black.dtype).where(known.mask, black))

    @staticmethod
    def figures(cfg: ModelConfig, loss: float) -> dict[str, float]:
        """Bits per dimension: of each value of a pixel."""
        return {"bits_per_dim": loss / (math.log(2) * cfg.patch_dim)}

    @staticmethod
    def guess_losses(
        cfg: ModelConfig, wanted: Float[Tensor, "rows values"], noise: Noise | None = None
    ) -> Float[Tensor, " rows"]:
        """8 bits a value."""
        return wanted.new_full((len(wanted),), cfg.patch_dim * math.log(LEVELS), dtype=torch.float32)

    @staticmethod
    def params(cfg: ModelConfig) -> int:
        """Of the network inside."""
        return Within.params(*_sizes(cfg))

    @staticmethod
    def flops(cfg: ModelConfig, work: Workload) -> float:
        """The network inside, once a row."""
        return 2 * work.rows * Within.macs(*_sizes(cfg))

    @staticmethod
    def input_flops(cfg: ModelConfig, work: Workload) -> float:
        """The linear map of the condition."""
        condition, values, width, _ = _sizes(cfg)
        return 2 * work.rows * values * width * condition

    @staticmethod
    def data_flops(cfg: ModelConfig, work: Workload) -> float:
        """The linear map of the features of values."""
        _, values, width, _ = _sizes(cfg)
        return 2 * work.rows * values * width * FEATURES * values

    @staticmethod
    def table_values(cfg: ModelConfig) -> int:
        """Positions, and mean and deviation."""
        return cfg.num_patches * cfg.shape.embed_dim + 2 * cfg.in_chans

    @staticmethod
    def kept_bytes(cfg: ModelConfig, work: Workload) -> float:
        """The condition, features of values, the last norm and its product, and what the mixture keeps, float32."""
        condition, values, width, _ = _sizes(cfg)
        each = 4 * FEATURES + (4 + work.width) * width + 8 + 4 * _KEPT * MIXTURES
        return work.rows * (work.width * condition + values * each)

    @staticmethod
    def units(cfg: ModelConfig, work: Workload) -> list[Unit]:
        """Of a block: the norm's input and statistics, and what products and GELU keep, 5 numbers a value."""
        _, values, width, depth = _sizes(cfg)
        rows = work.rows * values
        return [Unit(4 * width * width, rows * ((4 + 5 * work.width) * width + 8), rows * width)] * depth


def _sizes(cfg: ModelConfig) -> tuple[int, int, int, int]:
    """Of the network inside: condition, values, width, depth."""
    return cfg.shape.embed_dim, cfg.patch_dim, cfg.shape.head_width, cfg.shape.head_depth


def _drawn(probabilities: Float64[Tensor, "rows levels"], chance: Float64[Tensor, " rows"]) -> Int64[Tensor, " rows"]:
    """By the inverse of the distribution function, in float64, at numbers in (0, 1]."""
    below = probabilities.cumsum(dim=-1)
    wanted = chance[:, None] * below[:, -1:]
    return torch.searchsorted(below, wanted).squeeze(-1).clamp(max=probabilities.shape[-1] - 1)
