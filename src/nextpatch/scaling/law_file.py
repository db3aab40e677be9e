"""law.json: a law with the runs behind it as one file of plain values; and the one that comes with the package."""

from __future__ import annotations

from pathlib import Path

from nextpatch.config import from_dict, to_dict
from nextpatch.core.errors import ConfigError, UserError
from nextpatch.core.files import write_json
from nextpatch.core.marks import MARK
from nextpatch.core.reading import read_json
from nextpatch.core.text import shown
from nextpatch.scaling.law import Law

KIND = "scaling law"
FILE = "law.json"
SHIPPED = Path(__file__).parent.parent / "laws" / FILE  # of a study of our own; there is none before one was run
_REMEDY = "make it with: nextpatch law fit STUDY --out DIR"


class LawError(UserError):
    """A file is no law, or a damaged one; the message names it and the remedy."""


def write_law(path: Path, law: Law) -> None:
    """Write the file; it says what it is in its first key."""
    write_json(path, {MARK: KIND, **to_dict(law)})


def read_law(path: Path) -> Law:
    """The law in a file, or in a folder that `nextpatch law fit` wrote; LawError when there is none."""
    path = path / FILE if path.is_dir() else path
    values = read_json(path, "a scaling law", _REMEDY, LawError)
    if values.pop(MARK, None) != KIND:
        raise LawError(f"{shown(path)} is no scaling law; {_REMEDY}")
    try:
        return from_dict(Law, values, shown(path), extra_keys=True)
    except ConfigError as error:
        raise LawError(f"{error}; {_REMEDY}") from None


def shipped_law() -> Law | None:
    """The law that comes with the package; None as long as there is none."""
    return read_law(SHIPPED) if SHIPPED.is_file() else None
