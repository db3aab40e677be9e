"""How a discrete autoencoder is fitted on views: trained for some steps, then its codes are counted."""

from __future__ import annotations

import math
from itertools import islice

import torch

from nextpatch.core.progress import Meter
from nextpatch.tokenizer.artifact import FREQUENCIES, Artifact, TokenizerFacts
from nextpatch.tokenizer.autoencoder import AutoencoderSizes
from nextpatch.tokenizer.coded import coded, counts_of, evenly, with_frequencies
from nextpatch.tokenizer.config import FitOptions
from nextpatch.tokenizer.dvae import OPTIONS
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.tokenizer.straight_through import AutoencoderFit, Schedule
from nextpatch.tokenizer.tokenizer import tokenizer_of
from nextpatch.tokenizer.views import Views

_ROWS = 2048  # patches in a step, about
_LEAST_IMAGES = 4


def fit_dvae(views: Views, options: FitOptions, patch_size: int, seed: int) -> Artifact:
    """Networks and codes after `options.steps` steps, and the share of each code among `views.images` views.

    It is short, so nothing is saved on the way. The same seed gives the same bits on one machine with one number of
    threads, whatever the number of workers. TokenizerError where the error does not stay finite, or where there are
    fewer different patches than codes.
    """
    sizes = AutoencoderSizes(patch_size, views.in_chans, width=options.width, depth=options.depth)
    made = _trained(views, options, sizes, seed)
    tokenizer = tokenizer_of(made).to(views.device)
    counts = torch.zeros(options.codes, dtype=torch.int64)
    for _, codes in coded(tokenizer, views, views.images):
        counts += counts_of(codes, options.codes)
    return with_frequencies(made, counts)


def _trained(views: Views, options: FitOptions, sizes: AutoencoderSizes, seed: int) -> Artifact:
    fit = AutoencoderFit(sizes, options.codes, Schedule(options.steps, options.lr), seed, views.device)
    batches = views.batches(0, images_of_step(views.stream.img_size, sizes.patch_size))
    with Meter("steps", options.steps, unit="steps") as meter:
        for number, images in enumerate(islice(batches, options.steps)):
            fit.step(images, number)
            meter.add(1)
    if not math.isfinite(fit.error) or fit.codes is None:
        raise TokenizerError(
            f"the error became {fit.error} after {options.steps:,} steps; give a lower lr than {options.lr:g}"
        )
    facts = TokenizerFacts(
        "dvae", options.codes, sizes.patch_size, sizes.in_chans, views.mean, views.std,
        {name: getattr(sizes, name) for name in OPTIONS}, {"steps": options.steps, "lr": options.lr},
    )  # fmt: skip
    tensors = {name: values.detach().cpu() for name, values in fit.networks.state_dict().items()}
    return Artifact(facts, {**tensors, "vectors": fit.codes.vectors.cpu(), FREQUENCIES: evenly(options.codes)})


def images_of_step(img_size: tuple[int, int], patch_size: int) -> int:
    """Images in a step: so many that their patches are about 2,048, at least four."""
    return max(_LEAST_IMAGES, _ROWS // ((img_size[0] // patch_size) * (img_size[1] // patch_size)))
