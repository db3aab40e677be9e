"""How the ranks of one attempt find each other in a store where earlier attempts left their addresses."""

from __future__ import annotations

import json
import secrets
import time
from datetime import timedelta

from torch.distributed.distributed_c10d import PrefixStore, Store

_PAUSE_S = 0.01  # between two looks into the store


def join_rendezvous(store: Store, rank: int, size: int, patience: timedelta) -> Store:
    """A part of the store that only the living ranks of this attempt use.

    torchrun keeps one store over restarts. What a dead rank wrote there (its address) would be taken for its
    successor's, and the connection refused; and the count of restarts can't tell attempts apart, as it differs between
    machines. So each rank says a word of its own, rank 0 offers a name for the words that it sees, and offers another
    when a word changes; the name holds once every rank has agreed that its own word is among them.

    Raises TimeoutError, naming the ranks, where some do not come in time.
    """
    until = time.monotonic() + patience.total_seconds()
    word = secrets.token_hex(8)
    store.set(f"nextpatch/word/{rank}", word)
    name = _lead(store, size, until) if rank == 0 else _follow(store, rank, word, until)
    return PrefixStore(f"nextpatch/{name}", store)


def _lead(store: Store, size: int, until: float) -> str:
    said = [f"nextpatch/word/{rank}" for rank in range(size)]
    offered: list[bytes] = []
    name, agreed = "", list[str]()
    while time.monotonic() < until:
        if store.check(said):
            if (words := store.multi_get(said)) != offered:
                offered, name = words, secrets.token_hex(8)
                agreed = [f"nextpatch/{name}/agreed/{rank}" for rank in range(1, size)]
                store.set("nextpatch/offer", json.dumps([name, [word.decode() for word in words]]))
            if not agreed or store.check(agreed):
                store.set(f"nextpatch/{name}/holds", "")
                return name
        time.sleep(_PAUSE_S)
    silent = [str(rank) for rank, key in enumerate(agreed or said, start=bool(agreed)) if not store.check([key])]
    raise TimeoutError(f"of {size} ranks, rank {', '.join(silent)} did not come to the start: see its own output")


def _follow(store: Store, rank: int, word: str, until: float) -> str:
    agreed = ""
    while time.monotonic() < until:
        if store.check(["nextpatch/offer"]):
            name, words = json.loads(store.get("nextpatch/offer"))
            if rank < len(words) and words[rank] == word:
                if name != agreed:
                    store.set(f"nextpatch/{name}/agreed/{rank}", "")
                    agreed = name
                if store.check([f"nextpatch/{name}/holds"]):
                    return str(name)
        time.sleep(_PAUSE_S)
    raise TimeoutError(f"rank {rank} waited for rank 0 at the start, in vain: see the output of rank 0")
