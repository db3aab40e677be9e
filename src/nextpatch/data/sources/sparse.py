"""A source to be read here and there: a few samples must not bring whole remote shards with them."""

from __future__ import annotations

import copy

from nextpatch.data.sources.joined import JoinedSource
from nextpatch.data.sources.parquet import ParquetSource
from nextpatch.data.sources.source import Source
from nextpatch.data.sources.tar import TarSource
from nextpatch.data.sources.united import UnitedLabels


def sparse(source: Source) -> Source:
    """The same samples; those of remote shards that are not near are asked for one by one."""
    if isinstance(source, UnitedLabels):
        return UnitedLabels([sparse(part) for part in source.sources], source.classes)
    if isinstance(source, JoinedSource):
        return JoinedSource([sparse(part) for part in source.sources])
    if isinstance(source, (TarSource, ParquetSource)) and source.remote:
        other = copy.copy(source)
        other.ranged = True
        return other
    return source
