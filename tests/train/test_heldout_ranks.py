"""Held-out images shared among ranks: each read once, whatever their number, and one exact result."""

import numpy as np
import pytest
import torch

from corpus import gradient, saved
from nextpatch.data.error import DataError
from nextpatch.dist.ranks import Ranks
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.objective.next_patch import NextPatch
from nextpatch.train.compute import Compute
from nextpatch.train.heldout import GROUP_SIZE, HeldOut
from nextpatch.train.validation import validation_loss

CFG = ModelConfig(
    size="nano", img_size=(8, 8), patch_size=4, in_chans=3, embed_dim=16, depth=2, num_heads=2, head_width=16,
    head_depth=1,
)  # fmt: skip
OBJECTIVE = NextPatch(CFG)
COMPUTE = Compute(torch.device("cpu"), "fp32", (0.5,) * 3, (0.25,) * 3)
BAD = {3, GROUP_SIZE, GROUP_SIZE + 1, 4 * GROUP_SIZE - 1}


class Source:
    """Small images, some of them broken."""

    name, classes, digest, random_access, remote = "memory", (), "memory", True, False

    def __init__(self, count):
        self.count = count
        self.shard_sizes = np.array([count])
        self.read_of = []

    def __len__(self):
        return self.count

    def read(self, index):
        self.read_of.append(index)
        return b"broken" if index in BAD else saved(np.roll(gradient(8, 8), index, 0), "PNG")

    def key(self, index):
        return f"image {index}"

    def label(self, index):
        return None

    def prefetch(self, shard): ...


class Overheard(Ranks):
    """A rank of several that are played one after the other: what all have said is given to the last."""

    said = ()

    def gather(self, value):
        return list(self.said) or [value]


def shares(count, ranks):
    source = Source(count + 7)
    indices = np.arange(7, count + 7)
    return source, [HeldOut(source, indices, CFG, 0, rank, ranks) for rank in range(ranks)]


@pytest.mark.parametrize("count", [1, GROUP_SIZE - 1, GROUP_SIZE, 5 * GROUP_SIZE + 3])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_every_image_is_read_once_by_one_rank(count, ranks):
    source, parts = shares(count, ranks)
    batches = [list(part) for part in parts]
    assert sorted(source.read_of) == list(range(7, count + 7))
    positions = torch.cat([batch.positions for own in batches for batch in own]).tolist()
    assert sorted(positions) == [i for i in range(7, count + 7) if i not in BAD]
    assert max(len(own) for own in batches) <= parts[0].rounds


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_the_loss_is_the_same_to_the_last_bit(ranks):
    count = 5 * GROUP_SIZE + 3
    model = AIM(CFG)
    init_weights(model, 0)
    (whole,) = shares(count, 1)[1]
    expected = validation_loss(OBJECTIVE, model, whole, COMPUTE)
    parts = shares(count, ranks)[1]
    told = []
    for part in parts:
        alone = Overheard()
        object.__setattr__(alone, "gather", lambda value: told.append(value) or [value])
        if len(list(part)):
            validation_loss(OBJECTIVE, model, part, COMPUTE, alone, part.rounds)
    last = Overheard()
    object.__setattr__(last, "said", told)
    found = validation_loss(OBJECTIVE, model, parts[0], COMPUTE, last, parts[0].rounds)
    assert found == expected
    assert found.images == count - len([i for i in BAD if 7 <= i < count + 7])


def counted_passes(monkeypatch):
    passes, real = [], OBJECTIVE.position_losses
    monkeypatch.setattr(OBJECTIVE, "position_losses", lambda *args: passes.append(1) or real(*args))
    return passes


def test_a_rank_without_images_takes_part(monkeypatch):
    model = AIM(CFG)
    init_weights(model, 0)
    empty = shares(3, 2)[1][1]
    assert list(empty) == []
    passes = counted_passes(monkeypatch)
    with pytest.raises(ValueError, match="no held-out image"):
        validation_loss(OBJECTIVE, model, empty, COMPUTE, Ranks(), empty.rounds)
    assert len(passes) == empty.rounds == 1


def test_a_rank_of_whose_images_none_decodes_takes_part(monkeypatch):
    parts = shares(2 * GROUP_SIZE, 2)[1]
    monkeypatch.setitem(globals(), "BAD", set(range(7 + GROUP_SIZE, 7 + 2 * GROUP_SIZE)))
    assert [len(list(part)) for part in parts] == [1, 0]
    assert len(parts[1].bad) == GROUP_SIZE
    model = AIM(CFG)
    init_weights(model, 0)
    last = Overheard()
    object.__setattr__(last, "said", [[], validation_parts(model, parts[0])])
    expected = validation_loss(OBJECTIVE, model, parts[0], COMPUTE)
    assert validation_loss(OBJECTIVE, model, parts[1], COMPUTE, last, 1) == expected


def validation_parts(model, part):
    told = []
    alone = Overheard()
    object.__setattr__(alone, "gather", lambda value: told.append(value) or [value])
    validation_loss(OBJECTIVE, model, part, COMPUTE, alone)
    return told[0]


def test_data_that_fails_on_a_rank_is_told_after_its_passes_are_made(monkeypatch):
    model = AIM(CFG)
    init_weights(model, 0)
    passes = counted_passes(monkeypatch)

    def failing():
        yield next(iter(shares(3, 1)[1][0]))
        raise DataError("the disk is gone")

    with pytest.raises(DataError, match="the disk is gone"):
        validation_loss(OBJECTIVE, model, failing(), COMPUTE, Ranks(), 3)
    assert len(passes) == 3
