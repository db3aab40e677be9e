"""Random numbers: every stream's number in one table, and the only place where generators are built.

What is drawn depends on the seed, the stream and the position in the run alone, never on a global generator or on a
worker. So any process can draw it again, and a run's state is its position.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum, unique

import numpy as np
import torch


@unique
class Stream(IntEnum):
    """What is drawn, and the number that keeps its draws apart from all others of the same seed.

    A number is never changed or used again: runs that are resumed, and results that are compared, depend on it.
    """

    ORDER = 1  # which sample of a window stands at a position of the run
    VIEW = 2  # the crop and the flip of a training image, by position
    HELD_OUT = 3  # the images that are kept from training, for validation
    REPLACEMENT = 4  # the image that stands in for one that cannot be decoded, by position
    SHARDS = 5  # the order of the shards in an epoch
    MIXTURE = 6  # which part of a mixture a position is taken from, by block and stream of positions
    LABEL_SPLIT = 7  # the division of labeled images into training, validation and test
    LABELED_ORDER = 11  # the order of the labeled images in an epoch of a probe or of fine-tuning
    LABELED_VIEW = 12  # the augmentation of a labeled image, by position
    MIXUP = 13  # the partners and shares of mixup, by step of fine-tuning
    PATCH_ORDER = 14  # the order of the patches of all images, by grid, where it is a random one
    FIRST_CODES = 17  # the patches, or vectors of patches, that are the first codes of a tokenizer
    KEPT_PATCHES = 18  # the patches of an image that are kept in memory to fit codes on, by position
    DEAD_CODES = 19  # the vectors that dead codes of a discrete autoencoder begin anew from, by step
    NOISE = 20  # the seed of the noise that a training image is learned with, by position
    SAMPLE = 21  # the seed of the noise that a generated image is made from, by its number
    IMAGE_ORDER = 22  # the order of the patches of a training image, where each has its own, by position
    UNLABELLED = 23  # the training images whose class is not told, by position
    TILE = 24  # the seed of a tile of a generated image, by its number
    MASK = 15  # the masked patches of a training image, by position
    PREVIEW = 101  # the images that a preview shows
    COMPARED = 102  # the images of a collection that generated ones are measured against
    PREFIX = 0x5052  # the prefix length of a training image, by position


@unique
class FixedSeed(IntEnum):
    """Seeds that are the same in every run, so that their results can be compared from run to run."""

    EXAMPLE_IMAGES = 0  # made-up images for a comparison of two forward passes
    VISIBLE_DIRECTION = 1  # the direction along which `check` differentiates outputs by pixels
    FOREIGN_STEP = 2  # dropout and noise of another library's training step, whenever `check` runs it
    VALIDATION = 0x56414C  # the prefixes of held-out images: runs of all seeds are measured with the same ones


def rng_at(seed: int, stream: int, position: int) -> np.random.Generator:
    """The generator that belongs to a position of a stream: the same in every process, worker and resumed run.

    The position is the highest word of Philox's counter, which drawing never reaches, so no two positions share
    numbers. For PREFIX, of which each position draws one number, it is the lowest word, as in the first runs. Outside
    of this package take streams from 100,000 on.
    """
    counter = [position, 0, 0, 0] if stream is Stream.PREFIX else [0, 0, 0, position]
    return np.random.Generator(np.random.Philox(key=[seed, int(stream)], counter=counter))


def bootstrap_rng(seed: int) -> np.random.Generator:
    """The generator that draws test images again for the interval of a score."""
    return np.random.default_rng(seed)


def torch_generator(seed: int) -> torch.Generator:
    """A generator on the CPU for tensors.

    | what it draws                                   | seed                                       |
    |-------------------------------------------------|--------------------------------------------|
    | the first weights of a model                    | the run's seed + 1                         |
    | the first weights of a probe or of a classifier | the seed of its task                       |
    | example images, directions                      | a FixedSeed, or the size of the batch      |
    """
    return torch.Generator().manual_seed(seed)


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Inside, PyTorch's global generator on the CPU is seeded, for libraries that draw from it (peft's adapters)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def all_seeded(rng: np.random.Generator) -> Iterator[None]:
    """Inside, the global generators of Python, NumPy and PyTorch are seeded from `rng`, for libraries that use them.

    Afterwards they are as they were before (timm's RandAugment and Mixup, torchvision's ColorJitter).
    """
    before = random.getstate(), np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
    one, two, three = (int(value) for value in rng.integers(2**32, size=3))
    random.seed(one)
    np.random.seed(two)  # noqa: NPY002
    torch.manual_seed(three)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.random.set_rng_state(before[2])
