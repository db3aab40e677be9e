"""What a packing has finished: a line per shard, so that it goes on after a kill where it was."""

from __future__ import annotations

import json
import logging
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from nextpatch.core.files import DIGEST, digest_of_json, naming_path, write_bytes
from nextpatch.data.error import DataError
from nextpatch.tasks.curate.shard import Written

log = logging.getLogger(__name__)
FORMAT = "nextpatch pack 1"
_KINDS = (str, int, int, str, int, int)  # of the values of a line


class Step(NamedTuple):
    """A finished shard, and where things stood then."""

    shard: Written
    next: int  # position of the first sample that is not yet dealt with
    bad_bytes: int  # length of the list of bad samples


@dataclass
class Journal:
    """The lines of the file at `path`; the first says what is being packed and how."""

    path: Path
    settings: dict[str, Any]
    steps: list[Step] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, settings: dict[str, Any]) -> Journal:
        """A new journal, or the one that is there. DataError when that one is of other images or other settings."""
        head = {"format": FORMAT, **settings}
        lines = _whole_lines(path)
        if not lines:
            write_bytes(path, f"{json.dumps({**head, DIGEST: digest_of_json(head)})}\n".encode())
            return cls(path, settings)
        try:
            found, *rest = (json.loads(line) for line in lines)
            steps = [_step(entry) for entry in rest]
            if not isinstance(found, dict) or found.pop(DIGEST, "") not in ("", digest_of_json(found)):
                raise ValueError("its first line is not as it was written")
        except (ValueError, TypeError, RecursionError, MemoryError):
            raise DataError(f"{path} is damaged; remove its folder and the shards, and pack again") from None
        _refuse_other(found, head, path)
        return cls(path, settings, steps)

    @property
    def position(self) -> int:
        """The first position that is not yet dealt with."""
        return self.steps[-1].next if self.steps else 0

    @property
    def samples(self) -> int:
        """Samples in the finished shards."""
        return sum(step.shard.samples for step in self.steps)

    def check(self, folder: Path) -> None:
        """Forget the shards from the first on that is not in `folder` as it was written: they are made again."""
        sizes = [_size(folder / step.shard.name) for step in self.steps]
        sound = [size == step.shard.bytes for size, step in zip(sizes, self.steps, strict=True)]
        if all(sound):
            return
        first = sound.index(False)
        name = self.steps[first].shard.name
        log.warning("%s is not there as it was written; it and those after it are made again", folder / name)
        lines = _whole_lines(self.path)[: first + 1]
        write_bytes(self.path, "".join(f"{line}\n" for line in lines).encode())
        del self.steps[first:]

    def add(self, step: Step) -> None:
        """Write down a finished shard; it is on the disk when this returns."""
        with naming_path(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([*step, _checksum(step)]) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.steps.append(step)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def _whole_lines(path: Path) -> list[str]:
    """The lines, without a last one that was torn by a kill, which is cut off."""
    if not path.exists():
        return []
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        write_bytes(path, whole)
    return whole.decode("utf-8", "replace").split("\n")[:-1]


def _step(entry: Any) -> Step:
    """A line as it was written; TypeError or ValueError for any other."""
    shard, next_position, bad_bytes, *checksum = entry
    step = Step(Written(*shard), next_position, bad_bytes)
    if not all(type(value) is kind for value, kind in zip((*step.shard, *step[1:]), _KINDS, strict=True)):
        raise ValueError("a value is not of its kind")
    if checksum not in ([], [_checksum(step)]):  # [] as versions before wrote it
        raise ValueError("a line is not as it was written")
    return step


def _checksum(step: Step) -> int:
    return zlib.crc32(json.dumps(step).encode())


def _refuse_other(found: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    differing = [name for name in wanted if found.get(name, wanted[name]) != wanted[name]]
    if differing:
        what = ", ".join(f"{name} {found.get(name)} (now {wanted[name]})" for name in differing)
        raise DataError(f"{path} began with {what}; use the same, or pack into an empty folder")
