"""The paper's objective: each patch after a drawn prefix from all patches before it (sections 4.1 and 4.2)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nextpatch.core.errors import UserError
from nextpatch.core.random import Stream, rng_at
from nextpatch.model.aim import AIM, patches_of
from nextpatch.model.config import ModelConfig, Target
from nextpatch.model.layers import Rows, attention_mask
from nextpatch.objective.objective import Draws
from nextpatch.patches import normalize_patches

PREFIX_LEN = "prefix_len"


class NextPatch:
    """Prediction of the next patch in raster order, scored after the prefix, by squared error.

    Output i of the model is for patch i + 1; the last one is for nothing.
    """

    unit = "squared error"

    def __init__(self, cfg: ModelConfig) -> None:
        self.cfg = cfg
        self.places = range(1, cfg.num_patches)

    def draw(self, seed: int, positions: Int[Tensor, " batch"]) -> Draws:
        """Prefix lengths S; causal pre-training (Table 3d) always scores from S = 1."""
        if self.cfg.attention == "causal":
            return with_prefix(torch.ones_like(positions))
        return with_prefix(draw_prefix(seed, positions, self.cfg.num_patches))

    def scored(self, draws: Draws) -> Bool[Tensor, "batch places"]:
        """True for the patches after the prefix."""
        return scored_mask(draws[PREFIX_LEN], self.cfg.num_patches)

    def given(self, draws: Draws) -> Bool[Tensor, "batch patches"]:
        """True inside the prefix."""
        return torch.arange(self.cfg.num_patches) < draws[PREFIX_LEN][:, None].cpu()

    def loss_sum(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, ""]:
        """Sum over scored patches of their mean squared error: divide by their number in the GLOBAL batch.

        Computes only what that sum needs: no token for the last patch, which no scored prediction may see; the last
        block's queries, projection and MLP, and the head, only at scored positions, packed. Section 4.1, equation 2;
        the paper writes a sum over all K patches, its text (and this) scores those after the prefix.
        """
        patches = patches_of(images, self.cfg)
        rows = Rows(self.scored(draws)).to(images.device)
        mask = self._mask(draws, patches.shape[1] - 1, images.device)
        predicted = model.predict_rows(patches[:, :-1], mask, rows)
        wanted = targets(patches[:, 1:].flatten(0, 1).index_select(0, rows.flat), self.cfg.target)
        return squared_error(predicted, wanted).sum() / self.cfg.patch_dim

    def position_losses(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, "batch places"]:
        """The plain formulation: mean squared error of the prediction of patch i + 1 at entry i, 0 in the prefix."""
        return self.score(self.predict(model, images, draws), images, draws)

    def predict(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, "batch patches values"]:
        """Outputs at every position, in target space: output i is for patch i + 1, the last one for nothing."""
        patches = patches_of(images, self.cfg)
        return model.predict(patches, self._mask(draws, patches.shape[1], images.device))

    def score(
        self,
        predicted: Float[Tensor, "batch patches values"],
        images: Float[Tensor, "batch channels height width"],
        draws: Draws,
    ) -> Float[Tensor, "batch places"]:
        """The losses of outputs that are there already: output i against patch i + 1 (section 4.1)."""
        wanted = targets(patches_of(images, self.cfg)[:, 1:], self.cfg.target)
        return squared_error(predicted[:, :-1], wanted).mean(dim=-1) * self.scored(draws).to(images.device)

    def _mask(self, draws: Draws, length: int, device: torch.device) -> Tensor | None:
        return attention_mask(self.cfg.attention, draws[PREFIX_LEN], length, device)

    def baseline(self) -> AIM:
        """Predicts zero everywhere: each patch's own mean for normalized targets, the data's mean for pixels.

        Flat patches are guessed perfectly, so on images with plain backgrounds this level lies well below 1.
        """
        return _Zero(self.cfg)


class _Zero(AIM):
    """Zeros in target space; looks at nothing, and has no parameters."""

    def __init__(self, cfg: ModelConfig) -> None:
        nn.Module.__init__(self)
        self.cfg = cfg

    def predict(
        self,
        patches: Float[Tensor, "batch length values"],
        mask: Tensor | None,
        target_position: Tensor | None = None,
    ) -> Float[Tensor, "batch length values"]:
        """What is always guessed."""
        return torch.zeros_like(patches)


def with_prefix(prefix_len: Int[Tensor, " batch"]) -> Draws:
    """Draws with these prefix lengths, for who chooses them."""
    return Draws({PREFIX_LEN: prefix_len})


def draw_prefix(seed: int, positions: Int[Tensor, " batch"], num_patches: int) -> Int[Tensor, " batch"]:
    """Prefix lengths S, uniform on 1 .. K-1: a pure function of (seed, position of the sample in the run).

    The same position gives the same S in any batch, worker, process or resumed run. Source: section 4.2.
    """
    draws = [rng_at(seed, Stream.PREFIX, position).integers(1, num_patches) for position in positions.tolist()]
    return torch.tensor(draws, dtype=torch.int64)


def scored_mask(prefix_len: Int[Tensor, " batch"], num_patches: int) -> Bool[Tensor, "batch outputs"]:
    """True at output i (0 .. K-2) when its prediction, patch i+1, is scored: i >= S-1, so never in the prefix."""
    if bool((prefix_len < 1).any()) or bool((prefix_len >= num_patches).any()):
        raise UserError(f"prefix lengths must be in 1 .. {num_patches - 1}, got {prefix_len.tolist()}")
    outputs = torch.arange(num_patches - 1, device=prefix_len.device)
    return outputs >= prefix_len[:, None] - 1


def targets(patches: Float[Tensor, "*rows values"], target: Target) -> Float[Tensor, "*rows values"]:
    """What the head must output for these patches (Table 3a): normalized pixels, or the pixels themselves."""
    if target == "pixels":
        return patches
    return normalize_patches(patches.reshape(1, -1, patches.shape[-1])).reshape(patches.shape)


def squared_error(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Elementwise, never in half precision."""
    wide = predicted if predicted.dtype == torch.float64 else predicted.float()
    return (wide - wanted.to(wide.dtype)).square()
