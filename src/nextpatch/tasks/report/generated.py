"""What the report of a run that generates shows: rows of pictures, drawn in bounded time and kept beside the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import UInt8
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.core.progress import LiveLine
from nextpatch.core.text import format_duration
from nextpatch.data.downsampling import downsampled
from nextpatch.data.loader import Batch
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.count import forward_flops
from nextpatch.runs.recipe import Recipe
from nextpatch.sampling.config import SamplingConfig
from nextpatch.sampling.enlarging import Enlarger
from nextpatch.sampling.known import KnownPixels, seen_too_late
from nextpatch.sampling.sampler import Sampler
from nextpatch.tasks.report.heldout import some
from nextpatch.tasks.report.nearest import Compared, nearest_training_images
from nextpatch.train.heldout import HeldOut

GUIDANCES, TEMPERATURES = (1.0, 2.0, 3.0, 1.5, 5.0), (1.0, 0.8, 0.6, 0.9)  # as they are drawn
SHOWN = 2.0  # the guidance of samples that are compared with training images, and of completions
LIMIT_S, _SWEPT = 30.0, 0.6  # for all that is sampled, and the share of it for samples from nothing
_FLOPS = 2e10  # a second, of one core: an image is expected to take a forward pass of it at least
_CLASSES, _COLUMNS, _COMPARED, _EXAMPLES, _OTHERS, _REAL = 10, 8, 6, 4, 4, 32
NO_CLASS = "no class"
Images = UInt8[Tensor, "_ channels height width"]


@dataclass(frozen=True)
class PictureRow:
    """Pictures side by side, and what is said before them and below each."""

    label: str
    images: Images
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PictureGrid:
    """Rows of one kind; `columns` are the heads."""

    kind: str  # samples, nearest, completions, inpainting, upscaling
    columns: tuple[str, ...]
    rows: tuple[PictureRow, ...]


@dataclass
class DrawnSamples:
    """All grids, what they took, and in words what is missing.

    `patches_per_s` and `images_per_s` are of `together` samples at a time without guidance.
    """

    grids: list[PictureGrid] = field(default_factory=list)
    patches_per_s: float | None = None
    images_per_s: float | None = None
    together: int = 0
    compared: Compared | None = None
    notes: list[str] = field(default_factory=list)


class SampleDrawer:
    """Draws the grids of one model, as long as there is time."""

    def __init__(
        self, model: AIM, recipe: Recipe, held: HeldOut | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._model, self._recipe, self._held, self._clock = model, recipe, held, clock
        self._cfg, self._mean_std = model.cfg, recipe.data.statistics(model.cfg.in_chans)
        self._began_s, self._image_s = clock(), forward_flops(model.cfg) / _FLOPS  # the longest that an image took
        self._found = DrawnSamples()
        self._nearest_to: Images | None = None

    def draw(self) -> DrawnSamples:
        """Everything; SamplingError for weights that cannot sample."""
        with LiveLine("samples of the report", 3) as line:
            if self._cfg.upscale:
                self._enlarged()
                return self._found
            self._samples()
            line.show("completing images", 1)
            self._completions()
            line.show("looking for the nearest training images", 2)
            self._nearest()
        return self._found

    def _samples(self) -> None:
        cfg = self._cfg
        count = min(_CLASSES, cfg.classes) if cfg.classes else _COLUMNS
        names = self._recipe.data.classes or tuple(map(str, range(cfg.classes)))
        rows = []
        for label, config, classes in self._sweep(count):
            row = self._row(label, config, count, classes)
            if row is None:
                break
            rows.append((label == NO_CLASS, label.split()[-1], row))
        if rows:
            heads = tuple(names[:count]) if cfg.classes else ()
            ordered = tuple(row for *_, row in sorted(rows, key=lambda one: one[:2]))
            self._found.grids.append(PictureGrid("samples", heads, ordered))

    def _sweep(self, count: int) -> Iterator[tuple[str, SamplingConfig, list[int] | None]]:
        """(what is said of it, settings, classes) of each row, in the order in which they are drawn."""
        if not self._cfg.classes:
            for temperature in (1.0,) if self._cfg.target == "pixels" else TEMPERATURES:
                yield f"temperature {temperature:g}", SamplingConfig(temperature=temperature), None
            return
        for guidance in GUIDANCES:
            yield f"guidance {guidance:g}", SamplingConfig(guidance=guidance), list(range(count))
        yield NO_CLASS, SamplingConfig(), None

    def _row(self, label: str, config: SamplingConfig, count: int, classes: list[int] | None) -> PictureRow | None:
        began_s = self._clock()
        images = self._sampled(config, count, classes)
        if images is None:
            return None
        spent_s = max(1e-9, self._clock() - began_s)
        if config == SamplingConfig():
            self._found.together, self._found.images_per_s = count, count / spent_s
            self._found.patches_per_s = count * self._cfg.num_patches / spent_s
        if self._nearest_to is None or config.guidance == SHOWN:
            self._nearest_to = images[:_COMPARED]
        return PictureRow(label, images)

    def _sampled(
        self, config: SamplingConfig, count: int, classes: list[int] | None, known: KnownPixels | None = None,
        low: Tensor | None = None,
    ) -> Images | None:  # fmt: skip
        """So many images together; None, and a note, where there would not be time."""
        example = known is not None or low is not None
        limit_s = LIMIT_S if example else _SWEPT * LIMIT_S
        costs_s = count * self._image_s * (1 + (config.guidance != 1))
        if self._clock() + costs_s > self._began_s + limit_s:
            self._late(costs_s)
            return None
        began_s = self._clock()
        config = SamplingConfig(
            guidance=config.guidance, temperature=config.temperature, batch_size=_OTHERS if example else count
        )
        sampler = Sampler(self._model, *self._mean_std, config)
        if low is not None:
            found = Enlarger(sampler).enlarge(low, 0, range(count), classes)
        else:
            found = torch.zeros(count, self._cfg.in_chans, *self._cfg.img_size, dtype=torch.uint8)
            for part in sampler.sample(0, range(count), classes, known):
                found[part.places] = part.images
        self._image_s = max(self._image_s, (self._clock() - began_s) / count / (1 + (config.guidance != 1)))
        return found

    def _late(self, costs_s: float) -> None:
        said = (
            f"Some samples were left out: {LIMIT_S:.0f} s are given to them, and the next ones would have taken "
            f"{format_duration(max(1.0, costs_s))}. nextpatch sample makes any number."
        )
        if said.split(":")[0] not in " ".join(self._found.notes):
            self._found.notes.append(said)

    def _completions(self) -> None:
        """Completions of the upper half, and of all but the middle where the order allows it."""
        if self._held is None:
            self._found.notes.append("There are no completions, because the held-out images are not there any more.")
            return
        for kind, mask in masks_of(self._cfg).items():
            rows = [row for batch in some(self._held, _EXAMPLES) for row in self._alternatives(batch, mask)]
            if rows:
                given = ("original", "given", *(f"sample {n + 1}" for n in range(_OTHERS)))
                self._found.grids.append(PictureGrid(kind, given, tuple(rows)))

    def _alternatives(self, batch: Batch, mask: Tensor) -> Iterator[PictureRow]:
        """Of the first images of a batch: the image, what is given of it, and several ways to go on."""
        grey = 128
        for image, label in zip(batch.images, batch.labels.tolist(), strict=True):
            given = KnownPixels(image.expand(_OTHERS, -1, -1, -1), mask.expand(_OTHERS, -1, -1, -1))
            told = [label] * _OTHERS if self._cfg.classes and label >= 0 else None
            made = self._sampled(SamplingConfig(guidance=SHOWN if told else 1.0), _OTHERS, told, given)
            if made is None:
                return
            yield PictureRow("", torch.cat([torch.stack([image, image.where(mask[0], grey)]), made]))

    def _enlarged(self) -> None:
        """Held-out images, what is left of them at the lower resolution, and several ways to enlarge that."""
        if self._held is None:
            self._found.notes.append("No image is enlarged, because the held-out images are not there any more.")
            return
        rows, factor = [], self._cfg.upscale
        for batch in some(self._held, _EXAMPLES):
            for image, label in zip(batch.images, batch.labels.tolist(), strict=True):
                low = downsampled(image, factor)
                told = [label] * _OTHERS if self._cfg.classes and label >= 0 else None
                made = self._sampled(SamplingConfig(), _OTHERS, told, low=low)
                if made is None:
                    break
                given = low.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
                rows.append(PictureRow("", torch.cat([torch.stack([image, given]), made])))
        if rows:
            given_heads = ("original", "given", *(f"sample {n + 1}" for n in range(_OTHERS)))
            self._found.grids.append(PictureGrid("upscaling", given_heads, tuple(rows)))

    def _nearest(self) -> None:
        if self._nearest_to is None:
            return
        try:
            held = None if self._held is None else some(self._held, _REAL)
            rows, self._found.compared = nearest_training_images(self._recipe, self._nearest_to, held)
        except (UserError, OSError) as error:
            self._found.notes.append(f"Nearest training images are not shown: {error}")
            return
        columns = ("sample", "nearest", "second", "third")
        shown = [PictureRow("", images, notes) for images, notes in rows]
        self._found.grids.append(PictureGrid("nearest", columns, tuple(shown)))


def masks_of(cfg: ModelConfig) -> dict[str, Tensor]:
    """What is known of each example, "1 1 height width": the upper half, and all but the middle where such a hole can
    be filled by what was learned."""
    height, width = cfg.img_size
    rows, columns = cfg.grid
    found = {}
    if rows > 1:
        upper = torch.zeros(1, 1, height, width, dtype=torch.bool)
        upper[:, :, : rows // 2 * cfg.patch_size] = True
        found["completions"] = upper
    around = torch.ones(1, 1, height, width, dtype=torch.bool)
    around[:, :, height // 4 : height - height // 4, width // 4 : width - width // 4] = False
    if not seen_too_late(cfg, around[0][None]) and columns > 1:
        found["inpainting"] = around
    return found
