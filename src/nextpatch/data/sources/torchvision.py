"""torchvision's data sets by name, downloaded by torchvision when they are first asked for."""

from __future__ import annotations

import difflib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from nextpatch.core.locks import locked
from nextpatch.data.error import DataError
from nextpatch.data.sources.source import digest_of

PREFIX = "torchvision:"
_LABELS = ("targets", "labels", "_labels")  # where torchvision keeps those of a whole data set
_TRAIN = {"train": {"train": True}, "test": {"train": False}}
SPLITS: dict[str, dict[str, dict[str, Any]]] = {
    **dict.fromkeys(("MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100"), _TRAIN),
    **{
        name: {split: {"split": split} for split in splits.split()}
        for name, splits in {
            "SVHN": "train test extra",
            "STL10": "train test unlabeled",
            "Food101": "train test",
            "Flowers102": "train val test",
            "GTSRB": "train test",
            "Country211": "train valid test",
            "FGVCAircraft": "trainval train val test",
            "OxfordIIITPet": "trainval test",
            "DTD": "train val test",
        }.items()
    },
    "EuroSAT": {"all": {}},
}


class TorchvisionSource:
    """`torchvision:NAME` or `torchvision:NAME/SPLIT`, NAME one of SPLITS; the first split unless one is named.

    Images come as .npy bytes of what torchvision gives: exact, and nothing to decode. Files are kept in
    $NEXTPATCH_CACHE/torchvision, or taken from `root` and not downloaded. Those of CIFAR are pickles: torchvision
    compares their MD5 with the published one before it opens them, and refuses others.
    """

    def __init__(self, spec: str, root: Path | None = None) -> None:
        name, _, split = spec.removeprefix(PREFIX).partition("/")
        if name not in SPLITS:
            near = difflib.get_close_matches(name, SPLITS, n=1, cutoff=0.4)
            advice = f"did you mean '{near[0]}'?" if near else "see below."
            raise DataError(f"no data set '{name}' of torchvision here; {advice} There are {', '.join(SPLITS)}")
        split = split or next(iter(SPLITS[name]))
        if split not in SPLITS[name]:
            raise DataError(f"{name} has no split '{split}'; there are {', '.join(SPLITS[name])}")
        self.name = f"{PREFIX}{name}/{split}"
        self._dataset: Any = None
        self._what, self._root = (name, split), root
        dataset = self._opened()
        self._labels = _labels_of(dataset)
        self.classes = _classes_of(dataset, self._labels)
        self._count = len(dataset)
        self.digest = digest_of([self.name, str(self._count)])
        self.shard_sizes = np.array([self._count])
        self.random_access, self.remote = True, False

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process needs: everything but the images in memory."""
        return self.__dict__ | {"_dataset": None}

    def __len__(self) -> int:
        return self._count

    def read(self, index: int) -> bytes:
        """The image as .npy bytes, height x width (x channels) of uint8."""
        out = io.BytesIO()
        np.save(out, np.asarray(self._opened()[index][0]), allow_pickle=False)
        return out.getvalue()

    def key(self, index: int) -> str:
        """Data set and number."""
        return f"{self.name}#{index}"

    def label(self, index: int) -> int | None:
        """The class that torchvision gives; None where it gives none."""
        label = int(self._opened()[index][1] if self._labels is None else self._labels[index])
        return label if self.classes and label >= 0 else None

    def prefetch(self, shard: int) -> None:
        """Nothing to do: the files are here."""

    def _opened(self) -> Any:
        if self._dataset is None:
            import torchvision.datasets

            cache = Path(os.environ.get("NEXTPATCH_CACHE") or "~/.cache/nextpatch").expanduser() / "torchvision"
            root = self._root or cache
            name, split = self._what
            try:
                root.mkdir(parents=True, exist_ok=True)
                with locked(root / f"{name}.lock", task="downloading"):  # of several processes one downloads
                    self._dataset = getattr(torchvision.datasets, name)(
                        root, download=self._root is None, **SPLITS[name][split]
                    )
            except (RuntimeError, OSError, ImportError) as error:
                reason = " ".join(str(error).split())
                raise DataError(f"{self.name}: {reason}; put its files into {root}, or try again") from None
        return self._dataset


def _labels_of(dataset: Any) -> Int32[np.ndarray, " samples"] | None:
    """The classes of all samples without decoding any, where this data set of torchvision keeps them; -1 is none."""
    for name in _LABELS:
        if hasattr(dataset, name):
            return np.asarray(getattr(dataset, name)).astype(np.int32)
    samples = getattr(dataset, "_samples", None)
    return None if samples is None else np.array([label for _, label in samples], np.int32)


def _classes_of(dataset: Any, labels: Int32[np.ndarray, " samples"] | None) -> tuple[str, ...]:
    """Names, or the numbers where torchvision has no names; none for a split without labels."""
    names = tuple(map(str, getattr(dataset, "classes", ())))
    highest = len(names) - 1 if labels is None else int(labels.max())
    return names if highest < len(names) and highest >= 0 else tuple(map(str, range(highest + 1)))
