"""The loop of sampling: what is known goes in at once, then each patch is drawn, clamped and fed back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpatch.model.aim import AIM
from nextpatch.model.attention import causal_mask
from nextpatch.model.cache import KeyValueCache
from nextpatch.model.heads.distribution import Known
from nextpatch.model.heads.noise import Noise
from nextpatch.model.low_res import at_places
from nextpatch.sampling.drawing import Drawer
from nextpatch.sampling.known import Beginning

NO_LABEL = -1


class Generation:
    """Fills the patches of one batch, all of whose images begin with as many known patches.

    With `guided`, every image is computed with its class and without one, as two halves of one batch. `clamped` brings
    patches into the range of pixels, so that what is fed back is what training saw. `around` are the neighborhoods of
    all patches in low-resolution images, in raster order, of a model that enlarges.
    """

    def __init__(
        self, model: AIM, draw: Drawer, start: Beginning, labels: Int[Tensor, " images"], seeds: Int[Tensor, " images"],
        guided: bool, clamped: Callable[[Tensor], Tensor],
        around: Float[Tensor, "images patches around"] | None = None,
    ) -> None:  # fmt: skip
        self._model, self._draw, self._clamped = model, draw, clamped
        self._copies, self._seeds, self._order = 1 + guided, seeds, start.order
        index = start.order[..., None].expand_as(start.patches)
        self._patches, self._known = start.patches.gather(1, index), start.known.gather(1, index)
        self._raster = start.order.argsort(dim=1)[..., None].expand_as(start.patches)
        self._around = None if around is None else at_places(around, start.order)
        told = torch.cat([labels, torch.full_like(labels, NO_LABEL)]) if guided else labels
        self._labels = told if model.cfg.classes else None
        count = self._copies * len(labels)
        self._cache = KeyValueCache(model.cfg, count, model.cfg.num_patches, labels.device, start.patches.dtype)

    @torch.no_grad()
    def run(self, first: int, scale_at: Callable[[int], float]) -> Float[Tensor, "images patches values"]:
        """All patches in raster order; `first` of each sequence are known, `scale_at` is the guidance at a turn."""
        count = self._patches.shape[1]
        features = self._begin(first) if first < count else None
        for turn in range(first, count):
            assert features is not None
            if bool(self._known[:, turn].all()):
                patch = self._patches[:, turn]
            else:
                patch = self._patch(features, turn, scale_at(turn))
            self._patches[:, turn] = patch
            features = self._extended(turn) if turn + 1 < count else None
        return self._patches.gather(1, self._raster)

    def _begin(self, first: int) -> Float[Tensor, "rows dim"]:
        """The feature of the last token of what is known, or of the start token."""
        order, batch = self._order, len(self._order)
        towards = order[:, 0].repeat(self._copies)
        tokens = [self._model.start_tokens(self._labels, self._copies * batch, towards, self._next(0, 1, self._copies))]
        if first:
            here, there = order[:, :first], order[:, 1 : first + 1]
            known = self._model.patch_tokens(self._patches[:, :first], here, there, self._next(1, first + 1))
            tokens.append(known.repeat(self._copies, 1, 1))
        whole = torch.cat([part.to(self._patches.dtype) for part in tokens], dim=1)
        mask = causal_mask(whole.shape[1], whole.device)[None, None] if self._model.cfg.attention == "causal" else None
        return self._seen(whole, 0, mask)

    def _patch(self, features: Tensor, turn: int, guidance: float) -> Float[Tensor, "images values"]:
        """Drawn and clamped, with the known values in it as they are."""
        place, known = self._order[:, turn], self._known[:, turn]
        condition = features
        if self._model.head.packed:
            around = self._next(turn, turn + 1, self._copies)
            around = None if around is None else around[:, 0]
            condition = self._model.condition(features, place.repeat(self._copies), around)
        told, *without = condition.chunk(self._copies)
        noise, unguided, some = Noise(self._seeds, place), without[0] if without else None, known.any(dim=1)
        drawn = torch.zeros_like(self._patches[:, turn])
        if not bool(some.all()):
            drawn = self._draw(told, unguided, guidance, noise, None).to(drawn.dtype)
        if bool(some.any()):  # drawn in another way: an image must not depend on what is known of others
            given = Known(self._patches[:, turn], known)
            with_known = self._draw(told, unguided, guidance, noise, given).to(drawn.dtype)
            drawn = with_known.where(some[:, None], drawn)
        return self._patches[:, turn].where(known, self._clamped(drawn))

    def _extended(self, turn: int) -> Float[Tensor, "rows dim"]:
        """The feature of the patch of this turn."""
        order = self._order
        here, there = order[:, turn : turn + 1], order[:, turn + 1 : turn + 2]
        token = self._model.patch_tokens(self._patches[:, turn : turn + 1], here, there, self._next(turn + 1, turn + 2))
        return self._seen(token.repeat(self._copies, 1, 1), turn + 1)

    def _seen(
        self, tokens: Float[Tensor, "rows new dim"], turn: int, mask: Tensor | None = None
    ) -> Float[Tensor, "rows width"]:
        """The feature of the last of some new tokens, or what a head that attends to those before makes of it. The
        first one is towards the patch of this turn.
        """
        features, head = self._model.trunk.extend(tokens, self._cache, mask), self._model.head
        if not head.packed:
            end, start = turn + tokens.shape[1], self._model.start
            assert start is not None
            towards = self._order[:, turn:end].repeat(self._copies, 1)
            told = start.told(features, self._next(turn, end, self._copies))
            features = head.extend(told, towards, self._cache.of_head, mask)
        return features[:, -1]

    def _next(self, begin: int, end: int, copies: int = 1) -> Float[Tensor, "rows turns around"] | None:
        """The neighborhoods of the patches of some turns."""
        return None if self._around is None else self._around[:, begin:end].repeat(copies, 1, 1)
