"""What folder names say of the images in them: their classes, or which are for training and which for testing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from nextpatch.core.text import shown
from nextpatch.data.error import DataError

_ROLES = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "holdout", "heldout"), "test"),
}
_PART = re.compile(
    r"(fold|part|batch|chunk|shard|split|set|subset|group|disk|session|run|day|week|month|year|camera|cam|site)"
    r"s?[-_ =]?\d+",
    re.IGNORECASE,
)
_FILLERS = frozenset(("set", "sets", "data", "dataset", "image", "images", "img", "imgs", "split", "jpg", "png"))


class ByFolder(NamedTuple):
    """Names of the classes, the number of each file's; or none, and why."""

    classes: tuple[str, ...]
    labels: Int64[np.ndarray, " files"]
    why_none: str


def by_folder(files: Sequence[str]) -> ByFolder:
    """Classes are the folders that all files share no longer: the first level at which their ways part.

    Where these are folds, parts or years that hold the same folders each, the classes are the folders in them. Names
    are compared in their composed form (NFC): a folder that came from a Mac is the same class as its copy.
    """
    folders = [file.rpartition("/")[0] for file in files]
    distinct = set(folders)
    shared = _shared([folder.split("/") if folder else [] for folder in distinct])
    shared += _are_parts([part[shared:] for folder in distinct if len(part := _parts(folder)) > shared])
    tops = {folder: class_name(part[shared]) if len(part := _parts(folder)) > shared else "" for folder in distinct}
    names = sorted(set(tops.values()))
    why = ""
    if "" in names and len(names) > 1:
        beside = [file for file, folder in zip(files, folders, strict=True) if not tops[folder]]
        also = "image lies" if len(beside) == 1 else "images lie"
        why = f"{len(beside):,} {also} beside the class folders, as {shown(beside[0])}; move them into a class folder"
    elif len(names) < 2:
        why = f"all images lie in one folder, '{shown(next(iter(distinct)))}'" if any(distinct) else "no class folders"
    if why:
        return ByFolder((), np.zeros(len(files), np.int64), why)
    number = {name: i for i, name in enumerate(names)}
    return ByFolder(tuple(names), np.array([number[tops[folder]] for folder in folders], np.int64), "")


def _are_parts(below: Sequence[list[str]]) -> bool:
    """Whether the folders at the top are numbered parts of a collection, each with the same several folders in it."""
    inside: dict[str, set[str]] = {}
    for first, *rest in below:
        inside.setdefault(first, set()).update(rest[:1])
    same = {frozenset(names) for names in inside.values()}
    numbered = all(_PART.fullmatch(name) for name in inside)
    return len(inside) > 1 and len(same) == 1 and len(next(iter(same))) > 1 and numbered


def is_number(folder: str) -> bool:
    """Whether a folder is called by a number, alone or behind a word for a part of something."""
    name = folder.rpartition("/")[2]
    return bool(_PART.fullmatch(name)) or not re.search(r"[^\W\d_]", name)


def class_name(text: str) -> str:
    """A class's name as it is compared and shown: accents composed."""
    return unicodedata.normalize("NFC", text)


def _parts(folder: str) -> list[str]:
    return folder.split("/") if folder else []


def _shared(paths: Sequence[list[str]]) -> int:
    """How many parts all paths begin with."""
    if not paths:
        return 0
    first, last = min(paths), max(paths)  # what these share, all share
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def refuse_splits(root: str, files: Iterable[str]) -> None:
    """DataError when folders beside each other are named for training and for testing.

    As one collection they would be classes called "train" and "test", and a model would learn what it is tested on.
    """
    folders = {file.rpartition("/")[0] for file in files}
    found = min(_splits(folders), default=None)
    if found is None:
        return
    depth, parent, names = found
    several = depth > 0 and len({folder.split("/", depth)[depth - 1] for folder in folders if folder}) > 1
    base = f"{root.rstrip('/')}/" + ("*/" * depth if several else f"{parent}/" if parent else "")
    train, test = (f"{base}{name}{'/**' if several else ''}" for name in names)
    quote = "'" if several or " " in base else ""
    train, test = f"{quote}{train}{quote}", f"{quote}{test}{quote}"
    raise DataError(
        f"{shown(root)} holds training and test images, in folders that are named so "
        f"({shown(names[0])}, {shown(names[1])}); name them apart: --data {shown(train)} --test {shown(test)} "
        f"(pretrain: --data {shown(train)} --data.val {shown(test)})"
    )


def _splits(folders: Iterable[str]) -> Iterator[tuple[int, str, tuple[str, str]]]:
    """(depth, parent, the folder to learn from and the one to test on) where folders of two roles lie together."""
    children: dict[tuple[str, str], dict[str, str]] = {}
    for folder in sorted(folders):
        parts = _parts(folder)
        for depth, part in enumerate(parts):
            if role := role_of(part):
                children.setdefault(("/".join(parts[:depth]), role[1]), {}).setdefault(role[0], part)
    for (parent, _), roles in children.items():
        if len(roles) > 1:
            first, *_, last = sorted(roles, key=("train", "val", "test").index)
            yield parent.count("/") + 1 if parent else 0, parent, (roles[first], roles[last])


def role_of(folder: str) -> tuple[str, str] | None:
    """(train, val or test; what else the name says) of a folder like `Test_Images`, `cars_train`, `val2017`."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", folder).lower()
    words = re.findall(r"[^\W\d_]+", re.sub(r"h[eo]ld[-_ ]?out", "holdout", plain))
    words = [re.sub(r"^(train|test|val)(set|data|imgs?|images?)$", r"\1", word) for word in words]
    roles = [_ROLES[word] for word in words if word in _ROLES]
    if not roles or ("train" not in roles and len(set(roles)) > 1):
        return None
    rest = [word for word in words if word not in _ROLES and word not in _FILLERS]
    return ("train" if "train" in roles else roles[0]), " ".join(rest)
