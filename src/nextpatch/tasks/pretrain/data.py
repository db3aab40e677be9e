"""The data of a run: the stream to learn from, and the held-out images that it is validated on."""

from __future__ import annotations

import logging

import numpy as np

from nextpatch.core.errors import ConfigError
from nextpatch.core.text import shown
from nextpatch.data.collection import open_collection, with_classes
from nextpatch.data.error import DataError
from nextpatch.data.leakage import MOST, find_shared
from nextpatch.data.loader import TrainStream
from nextpatch.data.sources.joined import JoinedSource
from nextpatch.data.sources.source import Source
from nextpatch.data.sources.sparse import sparse
from nextpatch.data.storage.location import is_remote
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.runs.recipe import Recipe
from nextpatch.train.heldout import HeldOut, held_out, training_order

log = logging.getLogger(__name__)
_COMPARED = 2_000  # training images, where they and the validation images are of one collection
_COMPARED_FAR = 100  # training images on another machine: a request for each


def open_data(recipe: Recipe, ranks: Ranks = ALONE) -> tuple[TrainStream, HeldOut]:
    """This rank's share of the training stream, and of the held-out images."""
    cfg, data = recipe.model, recipe.data
    if len(data.classes) != cfg.classes:
        raise ConfigError(
            f"model.classes is {cfg.classes}, but data.classes names {len(data.classes)}; leave both out, and give "
            "--labels to take them from the images"
        )
    train = with_classes(open_collection(data.train), data.classes)
    order = training_order(recipe, train)
    stream = TrainStream(
        train.source, order, data, cfg.img_size, cfg.in_chans, recipe.train.seed, data.workers, ranks.rank, ranks.size
    )
    return stream, held_out(recipe, train, data.workers, ranks.rank, ranks.size)


def reopened_data(recipe: Recipe, ranks: Ranks) -> tuple[TrainStream, HeldOut]:
    """The data of a run that goes on."""
    try:
        return open_data(recipe, ranks)
    except DataError as error:
        raise DataError(f"{error}. If the images have moved, give their new location: --resume --data DATA") from error


def warn_of_overlap(train: Source, held: HeldOut, recipe: Recipe) -> None:
    """Warn of validation images that are trained on: their loss says nothing of images that were not seen.

    Of those held out of the training images, copies among a few of the rest are looked for, where they are files here.
    Of training images on another machine a few are asked for one by one, and no shard is fetched.
    """
    far = _is_far(train)
    learned, most = np.arange(len(train)), _COMPARED_FAR if far else MOST
    if not recipe.data.val:
        if far or not train.random_access:
            return
        learned, most = np.setdiff1d(learned, held.indices), _COMPARED
    found = find_shared(sparse(train), learned, held.source, held.indices, most)
    if len(found.indices):
        among = "the" if len(learned) <= most else f"{most:,} of the"
        log.warning(
            "validation images of %s are also among %s training images: %s; the validation loss will be too low. "
            "Remove the copies (nextpatch data inspect shows some), or give other images as --data.val",
            shown(held.source.name), among, found,
        )  # fmt: skip


def _is_far(source: Source) -> bool:
    """Whether some of the images lie on another machine, in shards or one by one."""
    parts = source.sources if isinstance(source, JoinedSource) else (source,)
    return any(part.remote or is_remote(part.key(0)) for part in parts)
