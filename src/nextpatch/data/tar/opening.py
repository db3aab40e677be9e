"""Open a set of tar shards: compare what is there with what is known, and index what is not known yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from nextpatch.data.error import DataError
from nextpatch.data.storage.location import Entry, gone, is_remote
from nextpatch.data.tar.build import index_shards, refuse_changed
from nextpatch.data.tar.index_store import IndexStore
from nextpatch.data.tar.manifest import Manifest

log = logging.getLogger(__name__)
_REPORT_S = 10


def open_manifest(store: IndexStore, entries: Sequence[Entry]) -> Manifest:
    """What is known of the shards, in their order; those that nothing is known of are indexed first.

    DataError when a shard that the manifest names is missing, or has another size than it says. Shards that were
    damaged already when they were indexed are named in the log.
    """
    known = store.known()
    if known:
        _refuse_missing(store, known)
        refuse_changed(store, known, entries)
    if known and known.old:
        log.warning("an earlier version indexed the shards of %s; indexing them again, once", store.common)
    if known is None or known.old or not set(store.names).issubset(known.names):
        log.info("indexing the shards of %s, once", store.common)
        known = index_shards(entries, store.home, progress=_Reported())
    found = known.picked(store.names)
    if found.damage:
        number, text = next(iter(found.damage.items()))
        log.warning(
            "%d of %d shards were damaged when they were indexed; their whole samples are used (%d of %s%s: %s)",
            len(found.damage),
            len(found),
            found.samples[number],
            store.common,
            found.names[number],
            text,
        )
    return found


def _refuse_missing(store: IndexStore, known: Manifest) -> None:
    """DataError when a shard of the manifest is neither given nor there."""
    besides = set(known.names).difference(store.names)
    if not besides:
        return
    if is_remote(store.common):
        missing = {
            location.removeprefix(store.common) for location in gone([store.common + name for name in sorted(besides)])
        }
    else:
        missing = {name for name in besides if not Path(store.common, name).exists()}
    if missing:
        raise DataError(
            f"{store.common}{min(missing)} is missing: the manifest names it"
            + (f", and {len(missing) - 1} more" if len(missing) > 1 else "")
            + "; fetch it again, or continue with what is there: `nextpatch data index`"
        )


class _Reported:
    """Progress in the log, now and then."""

    def __init__(self) -> None:
        self._said_s = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._said_s > _REPORT_S:
            self._said_s = time.monotonic()
            log.info("indexed %d of %d shards", done, total)
