"""`nextpatch.classify`: the classes of images, by the classifier that comes with the weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nextpatch.api.images import Images, named
from nextpatch.api.session import session
from nextpatch.api.weights import Weights, model_of
from nextpatch.core.errors import ConfigError
from nextpatch.core.progress import phase
from nextpatch.data.preprocessing import Layout
from nextpatch.data.skipped import Bad
from nextpatch.data.sources.open import open_source
from nextpatch.measure.table import Table, data_frame
from nextpatch.model.precision import resolve_precision
from nextpatch.runs.config import Device
from nextpatch.tasks.embed.classify import Classified
from nextpatch.tasks.embed.classify import classify as classify_source
from nextpatch.weights.inference import InferenceModel


@dataclass(frozen=True, eq=False, repr=False)
class Classification:
    """The likeliest classes of images, in their order; `skipped` could not be decoded, with the reason."""

    images: tuple[Classified, ...]
    skipped: Bad

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Classified]:
        return iter(self.images)

    def __getitem__(self, number: int) -> Classified:
        return self.images[number]

    def table(self) -> Table:
        """A row for each image and class."""
        rows = [
            ["" if place else one.image, guess.name, f"{guess.probability:.1%}"]
            for one in self.images
            for place, guess in enumerate(one.top)
        ]
        return Table("", ["image", "class", "probability"], rows)

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_pandas(self) -> Any:
        """A pandas.DataFrame: a row for each image and class, with image, place (from 0), class, probability."""
        return data_frame(
            [
                {"image": one.image, "place": place, "class": guess.name, "probability": guess.probability}
                for one in self.images
                for place, guess in enumerate(one.top)
            ]
        )


def classify(
    weights: Weights,
    images: Images,
    *,
    top: int = 5,
    layers: str = "",
    batch_size: int = 32,
    workers: int = 0,
    device: Device = "auto",
    img_size: tuple[int, int] | None = None,
    pixel_range: tuple[float, float] | None = None,
    layout: Layout | None = None,
    quiet: bool = False,
) -> Classification:
    """The `top` most likely classes of every image, by weights that were probed, fine-tuned, or released with a head.

    `weights`: a name as `nextpatch.load` takes it, a model that is loaded, or a result. `images`: one image or any
    collection, as `nextpatch.dataset` takes them, or a name as on the command line. Raises WeightsError when the
    weights have no classifier, DataError where no image can be decoded.

    >>> import numpy as np, nextpatch
    >>> pixels = np.random.default_rng(0).integers(0, 255, (40, 28, 28), np.uint8)
    >>> _ = nextpatch.probe(nano_run, (pixels, ["cat", "dog"] * 20), probes=["attentive"], epochs=1, quiet=True)
    >>> found = nextpatch.classify(nano_run, pixels[0], top=2, quiet=True)
    >>> sorted(guess.name for guess in found[0].top)
    ['cat', 'dog']
    """
    if top < 1:
        raise ConfigError(f"top {top} must be at least 1")
    given, bad = named(images, one=True), Bad()
    with session(quiet), phase("classifying the images"):
        model = model_of(weights, device, layers=layers, img_size=img_size, pixel_range=pixel_range, layout=layout)
        inference = InferenceModel(model, model.device, resolve_precision("auto", model.device))
        found = classify_source(inference, open_source(given.one("images")), top, batch_size, workers, bad)
        return Classification(tuple(found), bad)
