"""Ranks meet in a store that earlier attempts have used."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import HashStore, Store

from nextpatch.dist.rendezvous import join_rendezvous

SOON = timedelta(seconds=20)


def attempt(store: Store, size: int) -> list[Store]:
    with ThreadPoolExecutor(size) as ranks:
        return list(ranks.map(lambda rank: join_rendezvous(store, rank, size, SOON), range(size)))


def test_what_a_dead_rank_left_is_not_seen_by_the_next_attempt() -> None:
    store = HashStore()
    for number in range(3):
        parts = attempt(store, 3)
        assert not parts[0].check(["address of 1"]), "an address of an earlier attempt is still there"
        parts[1].set("address of 1", str(number))
        assert [part.get("address of 1") for part in parts] == [str(number).encode()] * 3


@pytest.mark.parametrize("late", [0, 1, 2])
def test_a_rank_that_comes_late_is_not_taken_for_its_dead_predecessor(late: int) -> None:
    store = HashStore()
    attempt(store, 3)
    found: dict[int, Store] = {}

    def come(rank: int) -> None:
        found[rank] = join_rendezvous(store, rank, 3, SOON)

    early = [threading.Thread(target=come, args=(rank,)) for rank in range(3) if rank != late]
    for thread in early:
        thread.start()
    for thread in early:
        thread.join(0.2)
        assert thread.is_alive(), "the word of a dead rank was taken for a living one"
    come(late)
    for thread in early:
        thread.join()
    found[late].set("here", "all")
    assert all(part.get("here") == b"all" for part in found.values())


def test_an_attempt_that_broke_up_at_the_meeting_does_not_confuse_the_next() -> None:
    store = HashStore()
    for rank in (0, 2):  # rank 1 died before it came
        with pytest.raises(TimeoutError):
            join_rendezvous(store, rank, 3, timedelta(seconds=0.1))
    parts = attempt(store, 3)
    parts[2].set("here", "2")
    assert parts[0].get("here") == b"2"


def test_who_does_not_come_is_named() -> None:
    with pytest.raises(TimeoutError, match="of 3 ranks, rank 1, 2 did not come"):
        join_rendezvous(HashStore(), 0, 3, timedelta(seconds=0.05))
    with pytest.raises(TimeoutError, match="rank 2 waited for rank 0"):
        join_rendezvous(HashStore(), 2, 3, timedelta(seconds=0.05))


def test_more_or_fewer_ranks_may_come_the_next_time() -> None:
    store = HashStore()
    for size in (3, 1, 4, 2):
        parts = attempt(store, size)
        parts[-1].set("size", str(size))
        assert parts[0].get("size") == str(size).encode()
