"""Data sets of the Hugging Face Hub by name: their Parquet files or tar shards, fetched as they are needed."""

from __future__ import annotations

import re

from nextpatch.data.error import DataError
from nextpatch.data.storage.location import Entry, listing

PREFIX = "hub:"
_SPEC = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^:]+))?(?::(?P<split>[\w./-]+))?")
_CONVERTED = "refs%2Fconvert%2Fparquet"  # the branch to which the Hub itself converts what is not Parquet
_NUMBERING = re.compile(r"[-_.]?\d{2,}([-_]of[-_]\d+)?([-_][0-9a-f]{8,})?$")


def hub_entries(spec: str) -> list[Entry]:
    """The files of `hub:OWNER/NAME`, `hub:OWNER/NAME@REVISION`, either with `:SPLIT`.

    A split is what files share before their numbering, or the folder they lie in: `train` of `data/train-00000-of-00004
    .parquet`, `full/train` of `full/train/0000.parquet`. DataError when there are several and none was named, or when
    there is nothing that can be read.
    """
    found = _SPEC.fullmatch(spec.removeprefix(PREFIX))
    if not found or {".", ".."} & set(found["name"].split("/")):
        raise DataError(
            f"{spec} names no data set of the Hub; write hub:OWNER/NAME, with @REVISION and :SPLIT as needed"
        )
    name, revision, split = found["name"], found["revision"], found["split"]
    branches = [revision.replace("/", "%2F")] if revision else ["", _CONVERTED]
    for branch in branches:
        root = f"hf://datasets/{name}" + (f"@{branch}" if branch else "")
        entries = [e for e in listing(root) if e.location.endswith((".parquet", ".tar"))]
        if entries:
            return _of_split(entries, split, spec)
    raise DataError(f"{spec} holds neither Parquet files nor tar shards, and the Hub has converted nothing of it")


def _of_split(entries: list[Entry], split: str | None, spec: str) -> list[Entry]:
    """The files of one split, of one kind."""
    kind = ".parquet" if any(entry.location.endswith(".parquet") for entry in entries) else ".tar"
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.location.endswith(kind):
            groups.setdefault(_split_of(entry.location, kind), []).append(entry)
    wanted = split if split is not None else next(iter(groups)) if len(groups) == 1 else None
    if wanted is None or wanted not in groups:
        said = f"has no split '{split}'" if split else "holds several splits"
        raise DataError(f"{spec} {said}; name one: {_names(spec, groups)}")
    return groups[wanted]


def _names(spec: str, groups: dict[str, list[Entry]]) -> str:
    base = PREFIX + spec.removeprefix(PREFIX).partition(":")[0]
    return ", ".join(f"{base}:{group}" for group in sorted(groups))


def _split_of(location: str, kind: str) -> str:
    """What a file belongs to: its path in the data set without numbering, and without a leading `data/`."""
    path = re.sub(r"^hf://datasets/[^/]+/[^/]+/", "", location).removesuffix(kind)
    return _NUMBERING.sub("", path).removeprefix("data/").strip("/") or "data"
