"""The validation loss: exact, and the same however the images come."""

from dataclasses import replace

import pytest
import torch

from losses import patch_losses, prefix_lengths
from nextpatch.core.random import FixedSeed
from nextpatch.data.loader import Batch
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.objective.next_patch import NextPatch
from nextpatch.train.compute import Compute
from nextpatch.train.heldout import GROUP_SIZE
from nextpatch.train.validation import chunk_size, validation_loss

CFG = ModelConfig(
    size="nano", img_size=(12, 12), patch_size=4, in_chans=1, embed_dim=16, depth=2, num_heads=2, head_width=16,
    head_depth=1,
)  # fmt: skip
COMPUTE = Compute(torch.device("cpu"), "fp32", (0.5,), (0.25,))
OBJECTIVE = NextPatch(CFG)
COUNT = 2 * GROUP_SIZE + 5


@pytest.fixture(scope="module")
def model() -> AIM:
    aim = AIM(CFG)
    init_weights(aim, 0)
    return aim


def batches(size: int, count: int = COUNT, start: int = 0) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, *CFG.img_size), generator=generator).to(torch.uint8)
    positions = torch.arange(start, start + count)
    return [
        Batch(images[i : i + size], positions[i : i + size], torch.full((len(images[i : i + size]),), -1), ["x"] * size)
        for i in range(0, count, size)
    ]


def test_the_number_is_bit_equal_in_whatever_order_the_batches_come(model):
    assert validation_loss(OBJECTIVE, model, batches(7)[::-1], COMPUTE) == validation_loss(
        OBJECTIVE, model, batches(7), COMPUTE
    )


def test_parts_add_up_to_the_whole(model):
    result = validation_loss(OBJECTIVE, model, batches(9), COMPUTE)
    assert result.images == COUNT
    assert len(result.position_loss) == CFG.num_patches - 1
    losses = torch.zeros(CFG.num_patches - 1, dtype=torch.float64)
    weights = torch.zeros(CFG.num_patches - 1)
    for batch in batches(COUNT):
        prefix_len = prefix_lengths(CFG, FixedSeed.VALIDATION, batch.positions)
        with torch.no_grad():
            losses += patch_losses(model, COMPUTE.inputs(batch.images), prefix_len).double().sum(dim=0)
        for length in prefix_len.tolist():
            weights[length - 1 :] += 1
    assert result.loss == pytest.approx(float(losses.sum() / weights.sum()), rel=1e-6)
    assert result.position_loss == pytest.approx((losses / weights).tolist(), rel=1e-6)
    # chunks of two patches: patch 0 is never predicted, so the first chunk is patch 1 alone
    assert chunk_size(CFG.num_patches) == 2
    spans = [slice(0, 1), slice(1, 3), slice(3, 5), slice(5, 7), slice(7, 8)]
    assert result.chunk_loss == pytest.approx([float(losses[s].sum() / weights[s].sum()) for s in spans], rel=1e-6)


def test_a_position_that_no_image_scores_has_no_loss(model):
    # one image: nothing before its prefix is scored
    result = validation_loss(OBJECTIVE, model, batches(1, count=1, start=3), COMPUTE)
    scored = [loss is not None for loss in result.position_loss]
    assert scored == sorted(scored)
    assert scored[-1]


def test_prefixes_belong_to_the_image_not_to_its_place_in_the_pass(model):
    whole = batches(1, count=3)
    alone = [validation_loss(OBJECTIVE, model, [batch], COMPUTE) for batch in whole]
    weights = [sum(loss is not None for loss in one.position_loss) for one in alone]
    mean = sum(one.loss * n for one, n in zip(alone, weights, strict=True)) / sum(weights)
    assert validation_loss(OBJECTIVE, model, whole[::-1], COMPUTE).loss == pytest.approx(mean, rel=1e-6)


def test_no_image_is_an_error(model):
    with pytest.raises(ValueError, match="no held-out image"):
        validation_loss(OBJECTIVE, model, [], COMPUTE)


def test_chunks_are_the_papers_sixteen_patches_where_there_are_enough():
    assert [chunk_size(k) for k in (256, 64, 16, 9, 2)] == [16, 16, 2, 2, 1]
    assert replace(CFG, img_size=(224, 224), patch_size=14).num_patches // chunk_size(256) == 16
