"""The validation loss: exact, and the same however the images come."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from losses import patch_losses, prefix_lengths
from nextpatch.core.random import FixedSeed
from nextpatch.data.loader import Batch
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.model.names import ORDERS
from nextpatch.objective.next_patch import NextPatch
from nextpatch.objective.objective import Draws, fixed_patches
from nextpatch.train.compute import Compute
from nextpatch.train.heldout import GROUP_SIZE
from nextpatch.train.validation import chunk_starts, upside_down, validation_loss

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


def batches(size: int, count: int = COUNT, start: int = 0, cfg: ModelConfig = CFG) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, *cfg.img_size), generator=generator).to(torch.uint8)
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
    assert result.chunk_start == list(range(9))  # as many chunks as patches, the first of which is never predicted
    assert result.chunk_loss == [None, *result.position_loss]


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


def test_chunks_are_sixteen_equal_ones_as_numpy_splits() -> None:
    for patches in (2, 9, 16, 17, 30, 31, 32, 49, 64, 250, 255, 256, 1024):
        wanted = [int(part[0]) for part in np.array_split(np.arange(patches), min(16, patches))]
        assert chunk_starts(patches) == wanted


LONG = replace(CFG, img_size=(20, 28), order="spiral")  # 5 x 7 patches: chunks of 3 and of 2


def test_a_chunk_is_the_mean_over_its_part_of_the_sequence() -> None:
    model = AIM(LONG)
    init_weights(model, 0)
    result = validation_loss(NextPatch(LONG), model, batches(9, cfg=LONG), COMPUTE)
    draws = [prefix_lengths(LONG, FixedSeed.VALIDATION, batch.positions) for batch in batches(9, cfg=LONG)]
    counts = np.array([0, *(torch.cat(draws)[:, None] <= torch.arange(1, 35)).sum(0).tolist()])
    sums = counts * np.array([0, *(loss or 0 for loss in result.position_loss)])
    wanted = [a.sum() / b.sum() for a, b in zip(np.array_split(sums, 16), np.array_split(counts, 16), strict=True)]
    assert result.chunk_loss == pytest.approx(wanted)
    assert (len(result.chunk_loss), result.patch_loss) == (16, None)


class OrderOfEachImage(NextPatch):
    """Every second image is read backwards: no place is of one patch alone."""

    def predicts(self, draws: Draws) -> torch.Tensor:
        found = super().predicts(draws).clone()
        found[1::2] = self.cfg.num_patches - 1 - found[1::2]
        return found


def test_losses_of_patches_are_added_up_where_places_predict_others_in_other_images(model: AIM) -> None:
    objective, images = OrderOfEachImage(CFG), batches(COUNT)[0]
    found = validation_loss(objective, model, [images], COMPUTE)
    draws = objective.draw(FixedSeed.VALIDATION, images.positions)
    with torch.no_grad():
        losses = objective.position_losses(model, COMPUTE.inputs(images.images), draws).double()
    total, count = torch.zeros(9, dtype=torch.float64), torch.zeros(9)
    for row, patches, scored in zip(losses, objective.predicts(draws), objective.scored(draws), strict=True):
        total[patches] += row
        count[patches] += scored
    assert found.patch_loss == pytest.approx((total / count).tolist(), rel=1e-6)
    assert fixed_patches(objective) is None
    assert torch.equal(fixed_patches(NextPatch(LONG)), ORDERS["spiral"](LONG.grid, 0)[1:])


def test_images_upside_down_have_their_rows_turned_and_the_same_draws(model: AIM) -> None:
    there, back = [list(upside_down(b)) for b in (batches(7), upside_down(batches(7)))]
    assert torch.equal(there[0].images[:, :, 0], batches(7)[0].images[:, :, -1])
    assert not torch.equal(there[0].images, batches(7)[0].images)
    assert all(torch.equal(a.images, b.images) for a, b in zip(back, batches(7), strict=True))
    assert torch.equal(there[1].positions, batches(7)[1].positions)
    assert validation_loss(OBJECTIVE, model, there, COMPUTE) != validation_loss(OBJECTIVE, model, back, COMPUTE)
