"""Every sample exactly once per epoch, whatever is killed, and whatever number of workers and ranks goes on."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest

from nextpatch.data.config import DataConfig
from nextpatch.data.loader import TrainStream
from nextpatch.data.mixture import Mixture, MixturePart

WORKERS, RANKS = (0, 1, 2, 4), (1, 2, 4)
BATCH, STEPS, FARTHEST = 8, 60, 15  # a checkpoint at the latest so many steps after the last: four sessions fit
SHARDS = np.array([5, 0, 17, 1, 0, 0, 23, 9])  # 55 samples: an epoch ends in the middle of a batch
NONE = np.empty(0, np.int64)


def stream(source, workers, rank, ranks):
    order = Mixture([MixturePart(SHARDS, NONE, random_access=False)], seed=6, streams=4, window=2)
    return TrainStream(source, order, DataConfig(), (4, 4), 1, 6, workers, rank, ranks)


def learn(source, workers, rank, ranks, folder, first_step):
    """A rank that writes down what it is given, step by step, and now and then how far it is."""
    os.setpgrp()
    ledger = (folder / f"{first_step}-{rank}.jsonl").open("a", buffering=1)
    batches = stream(source, workers, rank, ranks).batches(first_step * BATCH, BATCH)
    for step, batch in zip(range(first_step, STEPS), batches, strict=False):
        pixels = [int(image.sum()) for image in batch.images]
        ledger.write(json.dumps([step, batch.positions.tolist(), batch.keys, pixels]) + "\n")
        time.sleep(0.002)


def session(source, folder, first_step, workers, ranks, kill):
    """All ranks at once, killed with their workers when `kill`; returns the step that a checkpoint would be of."""
    context = multiprocessing.get_context("fork")
    crew = [context.Process(target=learn, args=(source, workers, r, ranks, folder, first_step)) for r in range(ranks)]
    for process in crew:
        process.start()
    target = first_step + 12
    while kill and not all(reached(folder, first_step, rank) > target for rank in range(ranks)):
        time.sleep(0.005)
        assert any(process.is_alive() for process in crew)
    for process in crew:
        if kill and process.is_alive():  # one far ahead of the others may be done
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
    saved = min(reached(folder, first_step, rank) for rank in range(ranks)) - 1
    return min(saved, first_step + FARTHEST) if kill else STEPS


def reached(folder, first_step, rank):
    file = folder / f"{first_step}-{rank}.jsonl"
    return first_step + (file.read_text().count("\n") if file.exists() else 0)


def ledger(folder, checkpoints):
    """(position, key, pixels) of all steps that count: those of each session up to where the next one began."""
    rows = []
    for first, end in itertools.pairwise([*checkpoints, STEPS]):
        for file in folder.glob(f"{first}-*.jsonl"):
            for line in file.read_text().splitlines():
                step, *columns = json.loads(line)
                rows += zip(*columns, strict=True) if step < end else []
    return sorted(rows)


@pytest.fixture
def source(memory):
    made = memory(int(SHARDS.sum()), bad=(3, 30))
    made.shard_sizes, made.random_access = SHARDS, False
    return made


def undisturbed(source):
    batch = stream(source, 0, 0, 1).batch_at(0, STEPS * BATCH)
    pixels = [int(image.sum()) for image in batch.images]
    return list(zip(batch.positions.tolist(), batch.keys, pixels, strict=True))


def lost_and_repeated(rows):
    """Of every whole epoch: how many samples are missing, and how many are there too often."""
    good = {f"{i}.png" for i in range(int(SHARDS.sum()))} - {"3.png", "30.png"}
    lost = repeated = 0
    for epoch in range(len(rows) // int(SHARDS.sum())):
        first = [key for position, key, _ in rows if position // int(SHARDS.sum()) == epoch]
        lost += len(good - set(first))
        repeated += len(first) - len(set(first)) - 2  # two bad ones are replaced by others
    return lost, repeated


def survive(source, folder, plan):
    """Sessions with these (workers, ranks), all killed but the last; the ledger of what was learned from."""
    step, checkpoints = 0, []
    for number, (workers, ranks) in enumerate(plan):
        checkpoints.append(step)
        step = session(source, folder, step, workers, ranks, kill=number < len(plan) - 1)
    assert step == STEPS
    return ledger(folder, checkpoints)


CHAINS = [((0, 1), (1, 2), (2, 4), (4, 1)), ((4, 2), (0, 4), (1, 1), (2, 2))]


@pytest.mark.parametrize("plan", CHAINS)
def test_three_kills_in_a_row_lose_and_repeat_nothing(source, tmp_path, plan):
    rows = survive(source, tmp_path, plan)
    assert rows == undisturbed(source)
    assert lost_and_repeated(rows) == (0, 0)


@pytest.mark.slow
def test_no_chain_of_kills_loses_or_repeats_a_sample(source, tmp_path, capsys):
    """All pairs of workers and ranks to begin with, and chance for those after each of three kills."""
    chance, expected, samples = random.Random(0), undisturbed(source), 0
    pairs = list(itertools.product(WORKERS, RANKS))
    for number, start in enumerate(pairs):
        folder = tmp_path / str(number)
        folder.mkdir()
        rows = survive(source, folder, [start, *chance.sample(pairs, 3)])
        assert rows == expected
        assert lost_and_repeated(rows) == (0, 0)
        samples += len(rows)
    with capsys.disabled():
        print(f"[{len(pairs)} chains of 3 kills: 0 lost, 0 repeated of {samples}] ", end="")


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("start", [0, 1, 13, 55])
def test_ranks_share_a_batch_without_overlap(source, ranks, start):
    whole = stream(source, 0, 0, 1).batch_at(start, BATCH)
    shares = [stream(source, 0, rank, ranks).batch_at(start, BATCH) for rank in range(ranks)]
    assert all(len(share.keys) == BATCH // ranks for share in shares)  # the same work for each, so the same steps
    joined = {p: k for share in shares for p, k in zip(share.positions.tolist(), share.keys, strict=True)}
    assert joined == dict(zip(whole.positions.tolist(), whole.keys, strict=True))


def test_a_batch_that_ranks_cannot_share_evenly_is_refused(source):
    with pytest.raises(ValueError, match="8 does not divide among 3 ranks"):
        next(stream(source, 0, 0, 3).batches(0, BATCH))


def no_hang(memory, sizes, workers, ranks):
    """Three steps of every rank, over shards of these sizes; the batches together are those of one rank alone."""
    source = memory(sum(sizes))
    order = Mixture([MixturePart(np.array(sizes), NONE, random_access=False)], 1, streams=4, window=1)
    shown = []
    for rank in range(ranks):
        share = TrainStream(source, order, DataConfig(stall_s=20), (4, 4), 1, 1, workers, rank, ranks).batches(0, 4)
        shown += [pair for b in itertools.islice(share, 3) for pair in zip(b.positions.tolist(), b.keys, strict=True)]
        share.close()
    alone = TrainStream(source, order, DataConfig(), (4, 4), 1, 1).batch_at(0, 12)
    assert sorted(shown) == list(zip(range(12), alone.keys, strict=True))


SHARD_SETS = [(1,), (0, 1), (3, 0, 0), (1, 1), (0, 0, 0, 0, 2, 1), (1,) * 17]


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("sizes", SHARD_SETS)
def test_few_and_empty_shards_hang_nobody(memory, sizes, workers, ranks):
    no_hang(memory, sizes, workers, ranks)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("sizes", SHARD_SETS)
def test_few_and_empty_shards_hang_nobody_with_more_workers_than_shards(memory, sizes, workers, ranks):
    no_hang(memory, sizes, workers, ranks)
