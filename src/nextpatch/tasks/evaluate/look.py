"""One pass over a collection: sums of its features for some of its images, and a bounded number of vectors kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from nextpatch.core.progress import Meter
from nextpatch.core.random import Stream, rng_at
from nextpatch.data.loader import Batch, eval_batches
from nextpatch.data.preprocessing import Preprocessing
from nextpatch.data.skipped import Bad
from nextpatch.data.sources.source import Samples
from nextpatch.measure.frechet import FeatureMoments
from nextpatch.tasks.evaluate.extractor import Computed, Extractor, resized

KEPT = 10_000  # vectors of a set in memory, of features and of pixels
LONGEST = 32  # px of the longer side of images that are compared pixel by pixel
VIEW = Preprocessing(crop_ratio=1.0)  # of the whole height or width


@dataclass(frozen=True)
class CommonView:
    """How all collections are seen alike."""

    size: tuple[int, int]
    channels: int
    batch_size: int
    workers: int

    def __str__(self) -> str:
        return VIEW.view(self.size)


@dataclass
class ImageSet:
    """Images of a collection and what was seen of them: sums of all features, and the vectors of at most KEPT.

    `indices`: of the images in the collection; `kept`: of those whose vectors are kept.
    """

    what: str
    indices: Int64[np.ndarray, " images"]
    kept: Int64[np.ndarray, " kept"]
    moments: FeatureMoments | None = None
    features: list[Tensor] = field(default_factory=list)
    pixels: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    right: int = 0
    asked: int = 0

    @classmethod
    def of(cls, what: str, indices: Int64[np.ndarray, " images"], seed: int) -> ImageSet:
        """None of them seen yet."""
        many = len(indices) > KEPT
        return cls(what, indices, np.sort(_shuffled(indices, seed, 2)[:KEPT]) if many else indices)

    def __len__(self) -> int:
        return self.moments.count if self.moments else 0

    def add(self, seen: Computed, batch: Batch, wanted: Int64[Tensor, " images"]) -> None:
        """Take in those images of a batch that belong to it; `wanted`: their classes as the classifier counts them."""
        positions = batch.positions.numpy()
        chosen, kept = (torch.from_numpy(np.isin(positions, some)) for some in (self.indices, self.kept))
        self.moments = self.moments or FeatureMoments(seen.features.shape[1])
        self.moments.add(seen.features[chosen])
        self.features.append(seen.features[kept])
        self.pixels.append(small(batch.images[kept]).flatten(1))
        self.labels.append(batch.labels[kept])
        self.places += positions[kept.numpy()].tolist()
        if seen.logits is not None:
            asked = chosen & (wanted >= 0)
            self.asked += int(asked.sum())
            self.right += int((seen.logits.argmax(dim=1) == wanted)[asked].sum())

    def joined(self, what: str) -> Tensor:
        """All that was kept of "features", "pixels" or "labels"."""
        return torch.cat(getattr(self, what))


def small(images: Tensor) -> Tensor:
    """At most LONGEST px high and wide."""
    height, width = images.shape[2:]
    share = min(1.0, LONGEST / max(height, width))
    return resized(images, (max(1, round(height * share)), max(1, round(width * share))))


def drawn(source: Samples, count: int, seed: int) -> Int64[np.ndarray, " images"]:
    """So many indices by chance, in the order in which they lie; all for 0."""
    if not count or count >= len(source):
        return np.arange(len(source))
    return np.sort(_shuffled(np.arange(len(source)), seed, 0)[:count])


def halves(
    indices: Int64[np.ndarray, " images"], count: int, seed: int
) -> tuple[Int64[np.ndarray, " half"], Int64[np.ndarray, " half"]]:
    """Two disjoint sets of these, of `count` each or of half of them."""
    count, order = min(count, len(indices) // 2), _shuffled(indices, seed, 1)
    return np.sort(order[:count]), np.sort(order[count : 2 * count])


def _shuffled(indices: Int64[np.ndarray, " images"], seed: int, position: int) -> Int64[np.ndarray, " images"]:
    found: np.ndarray = rng_at(seed, Stream.COMPARED, position).permutation(indices)
    return found


def batches(
    source: Samples, indices: Int64[np.ndarray, " images"], view: CommonView, bad: Bad, what: str
) -> Iterator[Batch]:
    """The images of these indices at the size of the view; what cannot be decoded is in `bad`."""
    with Meter(what, len(indices)) as meter:
        for batch in eval_batches(source, indices, view.size, view.channels, view.batch_size, view.workers, bad, VIEW):
            yield batch
            meter.add(len(batch.keys) + len(batch.bad))


def look(source: Samples, sets: Sequence[ImageSet], extractor: Extractor, view: CommonView, bad: Bad) -> None:
    """Fill the sets with the images of their indices, each image computed once however many sets it belongs to."""
    every = np.unique(np.concatenate([one.indices for one in sets]))
    known = class_numbers(source.classes, extractor)
    for batch in batches(source, every, view, bad, f"features of {sets[0].what}"):
        seen, wanted = extractor.compute(batch.images), known(batch.labels)
        for one in sets:
            one.add(seen, batch, wanted)


def class_numbers(classes: Sequence[str], extractor: Extractor) -> Callable[[Tensor], Tensor]:
    """From labels of a collection to the classifier's numbers, by name; -1 for what it does not know.

    A classifier without names has its classes in the order of the collection's.
    """
    names = list(extractor.classes)
    if not names:
        return lambda labels: labels
    table = torch.tensor([*(names.index(name) if name in names else -1 for name in classes), -1])
    return lambda labels: table[labels]
