"""Labeled images in epochs, augmented: which image stands where, and how it is changed, follows from the seed alone."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.core.random import Stream, rng_at
from nextpatch.data.decode import BadImage
from nextpatch.data.images import Images
from nextpatch.data.loader import KEEP_BYTES, Batch, log_new
from nextpatch.data.preprocessing import AS_OURS, Preprocessing
from nextpatch.data.skipped import Bad, none_decodes, skipped
from nextpatch.data.sources.source import Samples
from nextpatch.data.views import stacked
from nextpatch.data.workers import in_order

View = Callable[[Tensor, np.random.Generator], Tensor]


@dataclass
class Epochs:
    """`epochs` passes over some images in batches of `size`, each pass in another order, without its incomplete rest.

    Of every batch rank r of `ranks` gets each `ranks`-th image: together the same batch for any number of them. With
    `paired` it gets each `ranks`-th one of the first half and those that mirror them in the second, as mixup pairs
    images. An image that cannot be decoded is named in `bad`, and the next in the order stands in for it.
    """

    source: Samples
    indices: Int64[np.ndarray, " samples"]
    label_of: dict[int, int]
    size: int
    epochs: int
    seed: int
    view: View
    channels: int
    workers: int = 0
    rank: int = 0
    ranks: int = 1
    start: int = 0  # the first batch that is wanted
    bad: Bad = field(default_factory=dict)
    preprocessing: Preprocessing = AS_OURS
    paired: bool = False

    def __post_init__(self) -> None:
        if self.size < 2 * self.ranks if self.paired and self.ranks > 1 else self.size % self.ranks:
            raise UserError(f"a batch of {self.size} does not divide among {self.ranks} ranks; give another batch_size")
        room = KEEP_BYTES // max(1, self.workers)
        self._images = Images(self.source, self.channels, len(self.indices), room, self.preprocessing)
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __len__(self) -> int:
        return self.epochs * (len(self.indices) // self.size) - self.start

    def __iter__(self) -> Generator[Batch, None, None]:
        """The batches, decoded by the workers."""
        for batch in in_order(self, self.workers):
            log_new(batch.bad, self.bad)
            yield batch

    def __getitem__(self, number: int) -> Batch:
        epoch, within = divmod(self.start + number, len(self.indices) // self.size)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, rng_at(self.seed, Stream.LABELED_ORDER, epoch).permutation(self.indices)
        places = [within * self.size + place for place in range(self.size) if self._is_ours(place)]
        shown: list[int] = []
        bad: Bad = {}
        start = epoch * len(self.indices)
        images = stacked((self._view(place, start + place, shown, bad) for place in places), len(places))
        labels = torch.tensor([self.label_of[index] for index in shown])
        return Batch(images, torch.tensor(places) + start, labels, [self.source.key(index) for index in shown], bad)

    def _is_ours(self, place: int) -> bool:
        """Whether this rank gets the image of a place in the batch."""
        return (min(place, self.size - 1 - place) if self.paired else place) % self.ranks == self.rank

    def _view(self, place: int, position: int, shown: list[int], bad: Bad) -> Tensor:
        for step in range(len(self._order)):
            index = int(self._order[(place + step) % len(self._order)])
            try:
                image = self._images[index]
            except (BadImage, OSError) as error:
                bad[self.source.key(index)] = skipped(error, self.source.name)
                continue
            shown.append(index)
            return self.view(image, rng_at(self.seed, Stream.LABELED_VIEW, position))
        raise none_decodes(self.source.name, bad)
