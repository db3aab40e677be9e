"""`nextpatch.sample`, `complete`, `inpaint` and `upscale`: images of weights that generate, as images of Pillow."""

from __future__ import annotations

from collections.abc import Sequence

from PIL.Image import Image

from nextpatch.api.given_values import plain
from nextpatch.api.session import session
from nextpatch.api.weights import Weights, model_of, name_of
from nextpatch.core.progress import Meter, phase
from nextpatch.data.encoding import Given
from nextpatch.runs.config import Device
from nextpatch.sampling.config import GuidanceSchedule, Method
from nextpatch.tasks.generate.config import CompleteConfig, InpaintConfig, SampleConfig, UpscaleConfig, settings_of
from nextpatch.tasks.generate.enlargement import ImageEnlarger
from nextpatch.tasks.generate.generator import ImageMaker
from nextpatch.tasks.generate.inpaint import HoleFiller
from nextpatch.tasks.generate.pictures import picture_of
from nextpatch.tasks.generate.request import request_of

Label = str | int | Sequence[str | int] | None


def sample(
    weights: Weights,
    n: int = 16,
    *,
    label: Label = None,
    seed: int = 0,
    first: int = 0,
    guidance: float = 1.0,
    guidance_schedule: GuidanceSchedule = "constant",
    temperature: float = 1.0,
    steps: int = 20,
    method: Method = "euler",
    top_k: int = 0,
    top_p: float = 1.0,
    average: int = 1,
    batch_size: int = 0,
    device: Device = "auto",
    quiet: bool = False,
) -> list[Image]:
    """`n` images of weights that learned to generate, those of `nextpatch sample` with the same values.

    `weights`: a name as `nextpatch.load` takes it, a model that is loaded, or a result of `pretrain`. `label`: a class
    by name or number, or several that take turns; "each" is every class. Image `first` + i depends on the weights, the
    seed, its number and the settings only. The settings are those of `nextpatch.sampling.config.SamplingConfig`.

    Raises SamplingError for weights that cannot sample, and for classes that they do not know.

    >>> import nextpatch
    >>> images = nextpatch.sample(flow_run, 3, quiet=True)
    >>> len(images), images[0].size
    (3, (28, 28))
    """
    config = SampleConfig(
        weights=name_of(weights), count=n, label=_labels(label), seed=seed, first=first, guidance=guidance,
        guidance_schedule=guidance_schedule, temperature=temperature, steps=steps, method=method, top_k=top_k,
        top_p=top_p, average=average, batch_size=batch_size,
    )  # fmt: skip
    return _made(weights, config, device, quiet)


def complete(
    weights: Weights,
    image: Given,
    n: int = 4,
    *,
    rows: int = 0,
    label: Label = None,
    seed: int = 0,
    first: int = 0,
    guidance: float = 1.0,
    guidance_schedule: GuidanceSchedule = "constant",
    temperature: float = 1.0,
    steps: int = 20,
    method: Method = "euler",
    top_k: int = 0,
    top_p: float = 1.0,
    average: int = 1,
    batch_size: int = 0,
    device: Device = "auto",
    quiet: bool = False,
) -> list[Image]:
    """`n` alternatives for the lower part of an image, whose upper `rows` of patches are kept (0: half of them).

    `image` is a path, an image of Pillow, an array or a tensor; it is resized and cropped to the size of the model, as
    `Backbone.transform` does, and what is kept comes back to the last bit. `average`: with 16, each alternative is the
    mean of 16, the expected value. Everything else as in `nextpatch.sample`.

    >>> import nextpatch
    >>> photo, _ = nextpatch.dataset("demo:test")[0]
    >>> images = nextpatch.complete(flow_run, photo, 2, rows=2, quiet=True)
    >>> images[0].crop((0, 0, 28, 14)) == photo.crop((0, 0, 28, 14)), images[0] == images[1]
    (True, False)
    """
    config = CompleteConfig(
        weights=name_of(weights), image="image", rows=rows, count=n, label=_labels(label), seed=seed, first=first,
        guidance=guidance, guidance_schedule=guidance_schedule, temperature=temperature, steps=steps, method=method,
        top_k=top_k, top_p=top_p, average=average, batch_size=batch_size,
    )  # fmt: skip
    return _made(weights, config, device, quiet, image)


def inpaint(
    weights: Weights,
    image: Given,
    mask: Given = None,
    n: int = 4,
    *,
    box: tuple[int, int, int, int] | None = None,
    allow_unseen: bool = False,
    label: Label = None,
    seed: int = 0,
    first: int = 0,
    guidance: float = 1.0,
    guidance_schedule: GuidanceSchedule = "constant",
    temperature: float = 1.0,
    steps: int = 20,
    method: Method = "euler",
    top_k: int = 0,
    top_p: float = 1.0,
    average: int = 1,
    batch_size: int = 0,
    device: Device = "auto",
    quiet: bool = False,
) -> list[Image]:
    """`n` alternatives for the holes of an image: where `mask`, an image of the same size, is white, or True, and in
    `box`, (x, y, width, height) in pixels. All other pixels come back to the last bit, in the image's own mode.

    An image larger than the model is filled in tiles. `average`: with 16, each alternative is the mean of 16, the
    expected value. Weights of a fixed order may fill a hole before they have seen what is known behind it:
    SamplingError unless `allow_unseen`. Everything else as in `nextpatch.sample`.

    >>> import nextpatch
    >>> photo, _ = nextpatch.dataset("demo:test")[0]
    >>> images = nextpatch.inpaint(flow_run, photo, n=2, box=(0, 21, 28, 7), quiet=True)
    >>> images[0].crop((0, 0, 28, 21)) == photo.crop((0, 0, 28, 21)), images[0] == images[1]
    (True, False)
    """
    config = InpaintConfig(
        weights=name_of(weights), image="image", mask="" if mask is None else "mask",
        box="" if box is None else ",".join(map(str, box)), allow_unseen=allow_unseen, count=n, label=_labels(label),
        seed=seed, first=first, guidance=guidance, guidance_schedule=guidance_schedule, temperature=temperature,
        steps=steps, method=method, top_k=top_k, top_p=top_p, average=average, batch_size=batch_size,
    )  # fmt: skip
    with session(quiet) as console:
        with phase("loading the weights"):
            filler = HoleFiller(model_of(weights, device), request_of(config), image, mask)
        made: dict[int, Image] = {}
        with Meter("images", n, console=console) as meter:
            for place, picture in filler.pictures():
                made[place] = picture
                meter.add(1)
    return [made[place] for place in range(n)]


def upscale(
    weights: Weights,
    image: Given,
    n: int = 4,
    *,
    factor: int = 0,
    label: Label = None,
    seed: int = 0,
    first: int = 0,
    guidance: float = 1.0,
    guidance_schedule: GuidanceSchedule = "constant",
    temperature: float = 1.0,
    steps: int = 20,
    method: Method = "euler",
    top_k: int = 0,
    top_p: float = 1.0,
    average: int = 1,
    batch_size: int = 0,
    device: Device = "auto",
    quiet: bool = False,
) -> list[Image]:
    """`n` alternatives for an image that is `factor` times as high and wide (0: the factor of the weights).

    `image` is a path, an image of Pillow, an array or a tensor, of any size from that on which the weights enlarge;
    larger ones are made in tiles. Made smaller again by the mean of blocks of pixels, rounded, each result is the image
    that was given. `average`: with 16, each alternative is the mean of 16, the expected value. Everything else as in
    `nextpatch.sample`. Images of other than 1, 3 or 4 channels: `nextpatch.sampling.enlarging.Enlarger`.

    Raises SamplingError for weights that did not learn it (`model.upscale`), another factor, and too small an image.

    >>> import numpy as np, nextpatch
    >>> small = np.full((14, 14), 100, np.uint8)
    >>> [large] = nextpatch.upscale(upscale_run, small, n=1, quiet=True)
    >>> large.size, bool((np.asarray(large, float).reshape(14, 2, 14, 2).mean((1, 3)).round() == small).all())
    ((28, 28), True)
    """
    config = UpscaleConfig(
        weights=name_of(weights), image="image", factor=factor, count=n, label=_labels(label), seed=seed, first=first,
        guidance=guidance, guidance_schedule=guidance_schedule, temperature=temperature, steps=steps, method=method,
        top_k=top_k, top_p=top_p, average=average, batch_size=batch_size,
    )  # fmt: skip
    with session(quiet) as console:
        with phase("loading the weights"):
            enlarger = ImageEnlarger(model_of(weights, device), request_of(config), image)
        with Meter("tiles", enlarger.parts, console=console) as meter:
            made = dict(enlarger.pictures(meter))
    return [made[place] for place in range(n)]


def _made(
    weights: Weights, config: SampleConfig | CompleteConfig, device: Device, quiet: bool, image: Given = None
) -> list[Image]:
    with session(quiet) as console:
        with phase("loading the weights"):
            generator = ImageMaker(model_of(weights, device), settings_of(config))
            request = generator.settled(request_of(config), image)
            found = generator.images(request, image)
        made: dict[int, Image] = {}
        with Meter("images", request.count, console=console) as meter:
            for some in found:
                made |= {place: picture_of(pixels) for place, pixels in zip(some.places, some.images, strict=True)}
                meter.add(len(some.places))
    return [made[place] for place in range(request.count)]


def _labels(label: Label) -> tuple[str, ...]:
    """Labels as they are typed; those of NumPy are numbers too."""
    several = () if label is None else (label,) if isinstance(label, (str, int)) else label
    return tuple(str(plain(one)) for one in several)
