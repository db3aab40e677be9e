"""Which names of weights may come out of a file: a closed list, none of which runs code."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nextpatch.core.text import shown
from nextpatch.weights.error import WeightsError

TORCHHUB = "torchhub:"
PREFIXES = ("timm:", "hf:", TORCHHUB)
HUB = "hub:"
_TIMM = re.compile(r"timm:[\w.-]+(\?random)?")  # of timm's own list: no hf-hub:, no local-dir:
_ON_A_HUB = re.compile(r"(hf:|hub:)\w[\w.-]*(/\w[\w.-]*)?(@[\w./-]+)?")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:|[a-zA-Z]://")  # one letter alone is a drive


def knows(spec: str) -> bool:
    """Whether a text names a model of another library."""
    return spec.startswith(PREFIXES)


def absolute(spec: str) -> str:
    """The name with the files and folders in it written from the root, so that it means the same everywhere."""
    parts = ((part, Path(part).expanduser()) for part in spec.split("+"))
    return "+".join(os.path.abspath(path) if part and path.exists() else part for part, path in parts)  # noqa: PTH100


def from_file(spec: object, where: str | Path) -> str:
    """`spec`, a name of weights that the file `where` gives, when opening it runs no code and follows no URL.

    Ours, released ones, OWNER/NAME of the Hub, files and folders, timm:NAME and hf:OWNER/NAME are such names. Every
    other is a WeightsError: a file must not choose a program. Whoever trusts one types it.
    """
    safe = isinstance(spec, str) and spec != "" and "\0" not in spec and not spec.startswith(("//", "\\\\"))
    if safe and (not _SCHEME.match(str(spec)) or _TIMM.fullmatch(str(spec)) or _ON_A_HUB.fullmatch(str(spec))):
        return str(spec)
    raise WeightsError(
        f"{shown(where)} names the weights {shown(str(spec)[:200])!r}. A name in a file may be that of a file, a run, "
        "a model of the Hub, timm:NAME or hf:OWNER/NAME, and of nothing that runs code or lies behind a URL. If you "
        "trust these weights, name them yourself on the command line"
    )
