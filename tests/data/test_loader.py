from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from nextpatch.data.config import DataConfig
from nextpatch.data.error import DataError
from nextpatch.data.loader import TrainStream, eval_batches
from nextpatch.data.mixture import Mixture, MixturePart
from nextpatch.data.skipped import Skipped

SIZE = (6, 6)


def stream(source, seed=3, workers=0, indices=None, cfg=None):
    left_out = np.array([] if indices is None else np.setdiff1d(np.arange(len(source)), indices), np.int64)
    order = Mixture([MixturePart(source.shard_sizes, left_out)], seed)
    return TrainStream(source, order, cfg or DataConfig(), SIZE, 1, seed, workers)


def reasons(bad):
    return {key: entry.reason for key, entry in bad.items()}


def take(count, batches):
    taken = list(islice(batches, count))
    batches.close()
    return taken


def same(a, b):
    return (
        torch.equal(a.images, b.images)
        and torch.equal(a.positions, b.positions)
        and torch.equal(a.labels, b.labels)
        and (a.keys, a.bad) == (b.keys, b.bad)
    )


def flat(batches):
    """Images, positions and keys of the batches one after the other."""
    return (
        torch.cat([b.images for b in batches]),
        torch.cat([b.positions for b in batches]).tolist(),
        [key for b in batches for key in b.keys],
    )


def test_a_batch_says_what_it_holds(memory):
    labels = [i % 4 for i in range(20)]
    batch = next(stream(memory(20, labels=labels)).batches(40, 5))
    assert batch.images.shape == (5, 1, *SIZE)
    assert batch.images.dtype == torch.uint8
    assert batch.positions.tolist() == [40, 41, 42, 43, 44]
    assert len(set(batch.keys)) == 5
    assert batch.labels.tolist() == [labels[int(key[:-4])] for key in batch.keys]
    assert next(stream(memory(3)).batches(0, 2)).labels.tolist() == [-1, -1]


def test_every_sample_is_shown_exactly_once_per_epoch(memory):
    source = memory(13)
    indices = np.array([0, 2, 3, 5, 7, 11, 12])
    keys = flat(take(6, stream(source, indices=indices).batches(0, 7)))[2]
    for epoch in range(6):
        assert sorted(keys[7 * epoch : 7 * epoch + 7]) == sorted(f"{i}.png" for i in indices)
    crossing = flat(take(7, stream(source, indices=indices).batches(0, 6)))[2]
    assert crossing == keys


@pytest.mark.parametrize("workers", [1, 2])
def test_the_stream_is_the_same_for_any_number_of_workers(memory, workers):
    source = memory(11, bad=(2, 5), labels=[i % 3 for i in range(11)])
    alone, helped = stream(source), stream(source, workers=workers)
    expected, got = take(5, alone.batches(4, 6)), take(5, helped.batches(4, 6))
    assert all(same(a, b) for a, b in zip(expected, got, strict=True))
    assert alone.bad == helped.bad
    assert reasons(alone.bad) == {f"{i}.png": "not an image of a known format" for i in (2, 5)}


@pytest.mark.parametrize("start", [1, 7, 30])
def test_a_stream_goes_on_anywhere_pixel_for_pixel(memory, start):
    source = memory(9, bad=(4,))
    images, positions, keys = flat(take(10, stream(source).batches(0, 5)))
    tail = flat(take(3, stream(source).batches(start, 4)))
    assert torch.equal(tail[0], images[start : start + 12])
    assert tail[1:] == (positions[start : start + 12], keys[start : start + 12])


def test_crops_and_flips_change_every_epoch_and_with_the_seed(memory):
    source = memory(1)
    views = flat(take(8, stream(source).batches(0, 1)))[0]
    assert len({view.numpy().tobytes() for view in views}) > 5
    assert not torch.equal(views, flat(take(8, stream(source, seed=4).batches(0, 1)))[0])


def test_one_bad_image_is_named_once_and_replaced(memory, caplog):
    train = stream(memory(10, bad=(6,)))
    with caplog.at_level(logging.WARNING):
        keys = flat(take(10, train.batches(0, 5)))[2]
    assert "6.png" not in keys
    assert len(keys) == 50
    assert Counter(keys).most_common()[-1][1] >= 5  # each good one is still shown in each of the five epochs
    assert reasons(train.bad) == {"6.png": "not an image of a known format"}
    assert [r.getMessage() for r in caplog.records] == [
        "skipped 6.png: not an image of a known format (1 skipped so far)"
    ]


def test_replacements_vary(memory):
    source = memory(40, bad=(0,))
    places = [p for p in range(40 * 12) if "0.png" in stream(source).batch_at(p, 1).bad]
    assert len(places) == 12
    assert len({stream(source).batch_at(p, 1).keys[0] for p in places}) > 6


def test_one_good_image_is_found_among_bad_ones(memory):
    keys = flat(take(2, stream(memory(60, bad=tuple(range(59))), cfg=DataConfig(max_bad=1.0)).batches(0, 4)))[2]
    assert set(keys) == {"59.png"}


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_decodable_is_an_error_that_says_so(memory, workers):
    with pytest.raises(DataError) as caught:
        next(stream(memory(5, bad=tuple(range(5))), workers=workers).batches(0, 2))
    assert str(caught.value).startswith(
        "no image of memory can be used; all 5 tried failed: not an image of a known format"
    )


def test_a_file_that_is_lost_on_the_way_is_skipped(memory):
    source = memory(4)
    source._images[1] = b"gone"
    train = stream(source)
    assert "1.png" not in flat(take(2, train.batches(0, 4)))[2]
    assert train.bad == {"1.png": Skipped("unreadable", "no such file", "memory")}


@pytest.mark.parametrize("workers", [0, 1])
def test_global_chance_is_left_alone(memory, workers):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    take(2, stream(memory(6), workers=workers).batches(0, 3))
    assert len(list(eval_batches(memory(6), range(6), SIZE, 1, 4, workers))) == 2
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_a_stream_can_be_sent_to_a_process_that_starts_afresh(memory):
    train = stream(memory(6, bad=(1,)))
    first = train.batch_at(0, 6)
    assert same(pickle.loads(pickle.dumps(train)).batch_at(0, 6), first)


def test_workers_leave_stopping_to_the_main_process(memory):
    expected = take(12, stream(memory(6)).batches(0, 2))
    batches = stream(memory(6), workers=1).batches(0, 2)
    got = [next(batches)]
    (worker,) = multiprocessing.active_children()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
    got += take(11, batches)
    assert all(same(a, b) for a, b in zip(expected, got, strict=True))


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (3, 0), (4, 0), (100, 0), (3, 2)])
def test_measuring_shows_each_image_exactly_once_in_order(memory, batch_size, workers):
    source = memory(12, bad=(0, 1, 2, 7, 9, 10, 11), labels=list(range(12)))
    indices = [0, 1, 2, 4, 3, 7, 6, 5, 8, 9, 10, 11]
    batches = list(eval_batches(source, indices, SIZE, 1, batch_size, workers))
    assert torch.cat([b.positions for b in batches]).tolist() == [4, 3, 6, 5, 8]
    assert torch.cat([b.labels for b in batches]).tolist() == [4, 3, 6, 5, 8]
    named = Counter(key for b in batches for key in b.bad)
    assert named == Counter(f"{i}.png" for i in (0, 1, 2, 7, 9, 10, 11))
    again = flat(list(eval_batches(source, indices, SIZE, 1, 5)))[0]
    assert torch.equal(torch.cat([b.images for b in batches]), again)


def test_measuring_nothing_is_an_error(memory):
    with pytest.raises(DataError, match="all 3 tried failed"):
        list(eval_batches(memory(3, bad=(0, 1, 2)), range(3), SIZE, 1, 2))


@pytest.mark.gpu
def test_a_batch_can_be_pinned(memory):
    assert stream(memory(3)).batch_at(0, 2).pin_memory().images.is_pinned()
