"""The classes of a set of tar shards: numbers beside the images, names beside them, or the folders that they lie in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int32

from nextpatch.data.sources.layout import by_folder, class_name, refuse_splits
from nextpatch.data.tar.index import Shard
from nextpatch.data.tar.manifest import Manifest
from nextpatch.data.tar.naming import FOLDER, WORD

_GAPS = 1000  # so many numbers without an image, beside those that occur, are taken for classes that are empty here
_COUNTED = 2_000_000  # samples whose labels are looked at to find that out


@dataclass(frozen=True)
class TarClasses:
    """Names of the classes and how labels of an index become their numbers; or no names, and why.

    Names come from labels that are names; or are the numbers, with names from the manifest; or, where nothing else
    labels the images, those of the folders in the shards. Shards that hold one numbered folder each have no classes.
    """

    names: tuple[str, ...]
    why_none: str = ""
    by: str = ""  # WORD, FOLDER, or empty: numbers
    location: dict[str, int] = field(default_factory=dict)  # of a name or folder in an index

    @classmethod
    def of(cls, manifest: Manifest, root: str, labels: Callable[[], Int32[np.ndarray, " samples"]]) -> TarClasses:
        """From the manifest; `labels` gives those of all samples. DataError for folders of training and test images."""
        highest = int(manifest.labels.max(initial=0)) - 1
        if manifest.words:
            words = {word: class_name(word) for word in manifest.words} | {str(i): str(i) for i in range(highest + 1)}
            number = {name: i for i, name in enumerate(sorted(set(words.values())))}
            return cls(tuple(number), by=WORD, location={word: number[name] for word, name in words.items()})
        if highest >= 0:
            return cls._numbers(manifest, highest, labels)
        if not manifest.folders:
            return cls((), 'no labels beside the images (KEY.cls, or "label" in KEY.json), and no class folders')
        return cls._folders(manifest, root)

    @classmethod
    def _numbers(
        cls, manifest: Manifest, highest: int, labels: Callable[[], Int32[np.ndarray, " samples"]]
    ) -> TarClasses:
        """All up to the highest; but those that occur alone, where a lone mistake would make very many."""
        if len(manifest.classes) > highest:
            return cls(manifest.classes)
        if highest >= _GAPS and manifest.samples.sum() <= _COUNTED:
            found = labels()
            used = np.unique(found[found >= 0]).tolist()
            if highest >= 2 * len(used) + _GAPS:
                return cls(tuple(map(str, used)), location={str(number): i for i, number in enumerate(used)})
        return cls(tuple(map(str, range(highest + 1))))

    @classmethod
    def _folders(cls, manifest: Manifest, root: str) -> TarClasses:
        files = [f"{folder}/x" if folder else "x" for folder in manifest.folders]
        refuse_splits(root, files)
        if 2 * len(files) > max(int(manifest.samples.sum()), 4):
            return cls((), "nearly every image lies in a folder of its own")
        names, labels, why = by_folder(files)
        return cls(names, why, FOLDER, dict(zip(manifest.folders, labels.tolist(), strict=True)))

    def number(self, label: int, shard: Shard) -> int | None:
        """The class of a label that stands in the index of a shard; None where it has none."""
        if label < 0 or not self.names:
            return None
        if shard.named_by:
            name = shard.names[label] if shard.named_by == self.by and label < len(shard.names) else ""
            return self.location.get(name)
        if self.by == FOLDER:
            return None
        return self.location.get(str(label)) if self.location else label if label < len(self.names) else None


def told_together(parts: Iterable[str]) -> str:
    """ "3 x .heic file, 1 x link" of many shards, added up."""
    total: Counter[str] = Counter()
    for part in parts:
        for entry in part.split(", "):
            count, sign, reason = entry.partition(" x ")
            if sign and count.isdigit():
                total[reason] += int(count[:18])
    return ", ".join(f"{count:,} {reason}" for reason, count in total.most_common())
