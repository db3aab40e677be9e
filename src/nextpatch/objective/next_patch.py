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
from nextpatch.objective.objective import Draws, Fill, Words, scored_patches
from nextpatch.patches import normalize_patches, patch_statistics, unpatchify

PREFIX_LEN = "prefix_len"


class NextPatch:
    """Prediction of the next patch in raster order, scored after the prefix, by squared error.

    Output i of the model is for patch i + 1; the last one is for nothing.
    """

    unit = "squared error"

    def __init__(self, cfg: ModelConfig) -> None:
        self.cfg = cfg
        self.places = range(1, cfg.num_patches)
        self.words = _words(cfg)

    def draw(self, seed: int, positions: Int[Tensor, " batch"]) -> Draws:
        """Prefix lengths S; causal pre-training (Table 3d) always scores from S = 1."""
        if self.cfg.attention == "causal":
            return with_prefix(torch.ones_like(positions))
        return with_prefix(draw_prefix(seed, positions, self.cfg.num_patches))

    def examples(self) -> Draws:
        """Prefix lengths 1, a third, a half and K - 1."""
        count = self.cfg.num_patches
        return with_prefix(torch.tensor(sorted({1, max(1, count // 3), max(1, count // 2), count - 1})))

    def showcase(self, batch: int) -> Draws:
        """The upper half of the rows as prefix, or half of a single row."""
        rows, columns = self.cfg.grid
        return with_prefix(torch.full((batch,), max(1, rows // 2 * columns if rows > 1 else columns // 2)))

    def scored(self, draws: Draws) -> Bool[Tensor, "batch places"]:
        """True for the patches after the prefix."""
        return scored_mask(draws[PREFIX_LEN], self.cfg.num_patches)

    def given(self, draws: Draws) -> Bool[Tensor, "batch patches"]:
        """True inside the prefix."""
        return torch.arange(self.cfg.num_patches) < draws[PREFIX_LEN][:, None].cpu()

    def predicts(self, draws: Draws) -> Int[Tensor, "batch places"]:
        """The next patch."""
        return torch.arange(1, self.cfg.num_patches).expand(draws.batch_size, -1)

    def may_see(self, draws: Draws) -> Bool[Tensor, "batch places patches"]:
        """All before the next patch, and with prefix attention the whole prefix (Figure 3)."""
        patch = torch.arange(self.cfg.num_patches)
        before = (patch < patch[1:, None]).expand(draws.batch_size, -1, -1)
        return before if self.cfg.attention == "causal" else before | self.given(draws)[:, None]

    def told(self, draws: Draws) -> list[str]:
        """The prefix lengths."""
        return [f"a prefix of {n} patch{'es' if n > 1 else ''}" for n in draws[PREFIX_LEN].tolist()]

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
        return self.score(model, self.predict(model, images, draws), images, draws)

    def predict(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws
    ) -> Float[Tensor, "batch patches values"]:
        """Outputs at every position, in target space: output i is for patch i + 1, the last one for nothing."""
        patches = patches_of(images, self.cfg)
        return model.predict(patches, self._mask(draws, patches.shape[1], images.device))

    def score(
        self,
        model: AIM,
        predicted: Float[Tensor, "batch patches values"],
        images: Float[Tensor, "batch channels height width"],
        draws: Draws,
    ) -> Float[Tensor, "batch places"]:
        """The losses of outputs that are there already: output i against patch i + 1 (section 4.1). No model needed."""
        wanted = targets(patches_of(images, self.cfg)[:, 1:], self.cfg.target)
        return squared_error(predicted[:, :-1], wanted).mean(dim=-1) * self.scored(draws).to(images.device)

    def _mask(self, draws: Draws, length: int, device: torch.device) -> Tensor | None:
        return attention_mask(self.cfg.attention, draws[PREFIX_LEN], length, device)

    def target(
        self, images: Float[Tensor, "batch channels height width"], draws: Draws, fill: Fill | None = None
    ) -> Float[Tensor, "batch channels height width"]:
        """The patches after the prefix as they are, or normalized, with the mean and deviation of `fill` put back."""
        return self._painted(targets(patches_of(images, self.cfg)[:, 1:], self.cfg.target), images, draws, fill)

    def complete(
        self, model: AIM, images: Float[Tensor, "batch channels height width"], draws: Draws, fill: Fill | None = None
    ) -> Float[Tensor, "batch channels height width"]:
        """Each patch after the prefix as predicted one step ahead from all TRUE patches before it."""
        return self._painted(self.predict(model, images, draws)[:, :-1].float(), images, draws, fill)

    def _painted(self, values: Tensor, images: Tensor, draws: Draws, fill: Fill | None) -> Tensor:
        """`values`, in target space, are of the patches from the second on."""
        patches = patches_of(images, self.cfg)
        if self.cfg.target == "norm_pixels":
            mean, deviation = patch_statistics(patches[:, 1:]) if fill is None else _everywhere(fill, self.cfg, images)
            values = values * deviation + mean
        drawn = torch.cat([patches[:, :1], values.to(patches.dtype)], dim=1)
        scored = scored_patches(self, draws).to(images.device)[..., None]
        return unpatchify(torch.where(scored, drawn, patches), self.cfg.grid, self.cfg.patch_size)

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


def _words(cfg: ModelConfig) -> Words:
    whole, normalized = cfg.attention == "prefix", cfg.target == "norm_pixels"
    return Words(
        name="next-patch prediction",
        promise="predicts the next patch and never sees it",
        target="the NEXT one",
        hidden="its target or a later patch",
        visible="all patches before its target",
        scored="the patches after the prefix",
        unscored=f"the prefix is seen as {cfg.attention} attention promises",
        copying="the one-patch shift is missing",
        leaking="the attention mask lets it look ahead",
        shaded="the prefix, which the model sees as a whole; every patch after it is predicted from all before it."
        if whole
        else "the first patch, which nothing predicts; every other is predicted from all before it.",
        predicted="each patch after the prefix, less its own mean and over its own deviation."
        if normalized
        else "the pixels of each patch after the prefix.",
        completed="Each patch after the prefix is predicted one step ahead from all true patches before it, not from "
        "earlier predictions: this is what the loss measures. It is not a picture made from the prefix alone.",
        left_out="mean and variance" if normalized else "",
        guess="always guessing the mean of each patch" if normalized else "always guessing mean grey",
    )


def _everywhere(fill: Fill, cfg: ModelConfig, images: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the deviation for every value of a patch, whose channels vary fastest."""
    mean, deviation = (v.to(images).repeat(cfg.patch_size**2) for v in (fill.mean, fill.deviation))
    return mean, deviation


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
