"""How a tokenizer of k-means is fitted: one pass over the images by mini-batches, then passes over kept patches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nextpatch.core.progress import LiveLine, Meter
from nextpatch.core.random import Stream, rng_at
from nextpatch.patches import patchify
from nextpatch.tokenizer.artifact import FREQUENCIES, Artifact, TokenizerFacts
from nextpatch.tokenizer.config import FitOptions
from nextpatch.tokenizer.kmeans import comparable
from nextpatch.tokenizer.kmeans_lloyd import MiniBatches, Totals, lloyd
from nextpatch.tokenizer.kmeans_start import first_centers
from nextpatch.tokenizer.views import Views

_ROWS = 8192  # patches in a mini-batch, at least
_FIRST_IMAGES = 256  # that the first centers are drawn from
_KEPT_BYTES = 2**28
_STARTING_ROWS = 16  # for each code, that its first center is drawn from


def fit_kmeans(views: Views, options: FitOptions, patch_size: int, seed: int) -> Artifact:
    """Centers of the patches of `views.images` views, and the share of each among the patches kept.

    Memory: the patches kept, as bytes, at most 256 MiB; the first 256 images; and a few mini-batches. The same seed
    gives the same bits, whatever the number of workers. TokenizerError when there are fewer different patches than
    codes.
    """
    patches = _Patches(views, options, patch_size, seed)
    learned = _streamed(patches, options.codes, seed)
    with LiveLine("pass", options.passes, at_once=True) as line:
        centers, totals = lloyd(
            learned.centers,
            patches.kept,
            options.passes,
            lambda number, error: line.show(f"mean squared distance {error:.4g}", number),
        )
    return _artifact(views, options, patch_size, centers, totals)


def _artifact(
    views: Views, options: FitOptions, patch_size: int, centers: Float[Tensor, "codes values"], totals: Totals
) -> Artifact:
    facts = TokenizerFacts(
        "kmeans", options.codes, patch_size, views.in_chans, views.mean, views.std, {"norm": options.norm}
    )
    shares = (totals.counts.double() / totals.counts.sum()).float()
    return Artifact(facts, {"centers": centers.cpu(), FREQUENCIES: shares.cpu()})


def _streamed(patches: _Patches, codes: int, seed: int) -> MiniBatches:
    """One pass over the images, from centers drawn of the first of them."""
    waiting: list[Float[Tensor, "rows values"]] = []
    learned: MiniBatches | None = None
    first = min(_FIRST_IMAGES, patches.views.images)
    with Meter("images", patches.views.images) as meter:
        for done, rows in patches.streamed():
            if learned is None:
                waiting.append(rows)
                if done < first:
                    continue
                learned = MiniBatches(_first(torch.cat(waiting), codes, seed))
            for some in waiting or [rows]:
                learned.learn(some)
            waiting = []
            meter(done, patches.views.images)
    assert learned is not None
    return learned


def _first(rows: Float[Tensor, "rows values"], codes: int, seed: int) -> Float[Tensor, "codes values"]:
    """First centers, of rows evenly drawn."""
    count = max(_ROWS, _STARTING_ROWS * codes)
    if count < len(rows):
        chosen = rng_at(seed, Stream.FIRST_CODES, 2**62).choice(len(rows), count, replace=False)
        rows = rows[torch.from_numpy(chosen).to(rows.device)]
    return first_centers(rows, codes, seed)


class _Patches:
    """The patches of all views once, as they come, and again those of them that are kept."""

    def __init__(self, views: Views, options: FitOptions, patch_size: int, seed: int) -> None:
        height, width = views.stream.img_size
        self.views, self.norm, self.patch_size, self.seed = views, options.norm, patch_size, seed
        self.of_image = (height // patch_size) * (width // patch_size)
        self.values = patch_size * patch_size * views.in_chans
        self.at_a_time = max(1, max(_ROWS, 4 * options.codes) // self.of_image)
        room = min(options.keep_patches, _KEPT_BYTES // self.values)
        self.of_image_kept = min(self.of_image, max(1, room // views.images))
        self._kept: list[UInt8[Tensor, "rows values"]] = []

    def streamed(self) -> Iterator[tuple[int, Float[Tensor, "rows values"]]]:
        """(images so far, the patches of the next ones); some of each image are kept."""
        batches = -(-self.views.images // self.at_a_time)
        done = 0
        for images in islice(self.views.pixels(0, self.at_a_time), batches):
            cut = patchify(images[: self.views.images - done], self.patch_size)
            self._keep(cut, done)
            done += len(cut)
            yield done, self._rows(cut.flatten(0, 1))

    def kept(self) -> Iterator[Float[Tensor, "rows values"]]:
        """What was kept."""
        for rows in self._kept:
            yield self._rows(rows)

    def _keep(self, cut: UInt8[Tensor, "batch patches values"], position: int) -> None:
        if self.of_image_kept < self.of_image:
            draws = (rng_at(self.seed, Stream.KEPT_PATCHES, position + number) for number in range(len(cut)))
            chosen = [torch.from_numpy(rng.permutation(self.of_image)[: self.of_image_kept]) for rng in draws]
            cut = torch.stack([image[at] for image, at in zip(cut, chosen, strict=True)])
        self._kept.append(cut.flatten(0, 1).to(self.views.device))

    def _rows(self, rows: UInt8[Tensor, "rows values"]) -> Float[Tensor, "rows values"]:
        """Bytes as centers are compared with them."""
        pixels = rows.reshape(-1, self.views.in_chans, 1, 1)
        return comparable(self.views.normalized(pixels).reshape(rows.shape), self.norm)
