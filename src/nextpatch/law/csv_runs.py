"""Runs as a CSV file: one line for each run that went through its whole schedule."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from nextpatch.core.errors import ConfigError, UserError
from nextpatch.core.text import did_you_mean, shown
from nextpatch.scaling.law import LeftOut
from nextpatch.scaling.run_end import RunEnd

NEEDED = ("params_trunk", "images", "loss")
OPTIONAL = ("name", "seed", "params_head", "patches_per_image", "scored_per_image", "flops", "error", "train_images",
            "complete")  # fmt: skip
_WHOLE = ("seed", "params_trunk", "params_head", "train_images")
_YES, _NO = ("", "1", "yes", "true"), ("0", "no", "false")
_LARGEST = 64 * 2**20


class TableError(UserError):
    """A table of runs cannot be used; the message names the file, the row and the remedy."""


def read_runs(path: Path) -> tuple[list[RunEnd], list[LeftOut]]:
    """The complete runs of a CSV file, and those that are not. TableError for anything that cannot be used."""
    lines = list(csv.reader(io.StringIO(_text(path)), strict=True)) if path.is_file() else []
    if not lines:
        raise TableError(f"{shown(path)} is {'empty' if path.is_file() else 'not there'}; {_remedy()}")
    header = [cell.strip().lower() for cell in lines[0]]
    _check_header(path, header)
    ends, left_out = [], []
    for number, cells in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{shown(path)}, line {number}"
        if len(cells) != len(header):
            raise TableError(
                f"{where}: {len(cells)} values for {len(header)} columns; give each column a value, or none"
            )
        row = dict(zip(header, map(str.strip, cells), strict=True))
        end = _run(row, number, where)
        if _complete(row.get("complete", ""), where):
            ends.append(end)
        else:
            left_out.append(LeftOut(f"{end.name} seed {end.seed}", "it is not at the end of its schedule"))
    return ends, left_out


def _text(path: Path) -> str:
    if path.stat().st_size > _LARGEST:
        raise TableError(f"{shown(path)} is larger than {_LARGEST // 2**20} MiB: no table of runs")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise TableError(f"{shown(path)} is no text in UTF-8; {_remedy()}") from None


def _check_header(path: Path, header: list[str]) -> None:
    """TableError for columns that are missing, unknown or there twice."""
    known = (*NEEDED, *OPTIONAL)
    for name in header:
        if name not in known:
            near = did_you_mean(name, known)
            raise TableError(f"{shown(path)}, line 1: no column is called '{shown(name)}'{near}; {_remedy()}")
        if header.count(name) > 1:
            raise TableError(f"{shown(path)}, line 1: column {name} is there twice; remove one")
    if missing := [name for name in NEEDED if name not in header]:
        raise TableError(f"{shown(path)}, line 1: column {', '.join(missing)} is missing; {_remedy()}")


def _run(row: Mapping[str, str], number: int, where: str) -> RunEnd:
    values: dict[str, Any] = {"name": row.get("name") or f"line {number}"}
    for name in (*NEEDED, *OPTIONAL):
        if name not in ("name", "complete") and (text := row.get(name, "")):
            values[name] = _number(text, name, where)
    if missing := [name for name in NEEDED if name not in values]:
        raise TableError(f"{where}: no value of {', '.join(missing)}; give one, or remove the line")
    try:
        return RunEnd(**values)
    except ConfigError as error:
        raise TableError(f"{where}: {error}; correct it, or remove the line") from None


def _number(text: str, name: str, where: str) -> float | int:
    try:
        value = float(text)
    except ValueError:
        raise TableError(f"{where}: {name} '{shown(text)}' is no number; write it as 1200000 or 1.2e6") from None
    if not isfinite(value):
        raise TableError(f"{where}: {name} is {shown(text)}; a run without a finite value is none: remove the line")
    if name in _WHOLE:
        if value != int(value):
            raise TableError(f"{where}: {name} '{shown(text)}' is no whole number")
        return int(value)
    return value


def _complete(text: str, where: str) -> bool:
    if text.lower() not in (*_YES, *_NO):
        raise TableError(f"{where}: complete '{shown(text)}' is neither yes nor no")
    return text.lower() in _YES


def _remedy() -> str:
    return f"a table of runs has the columns {', '.join(NEEDED)}, and may have {', '.join(OPTIONAL)} (docs/scaling.md)"
