"""URLs and local paths: which is which, and fsspec's file system for a URL."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from nextpatch.core.text import shown
from nextpatch.data.error import DataError

EXTRAS = {"s3": "s3", "gs": "gs", "gcs": "gs", "http": "http", "https": "http", "hf": "hub"}
REMOTE = frozenset({*EXTRAS, "memory"})
_FILE = re.compile("file://", re.IGNORECASE)
STALL_S = 60.0  # a connection that gives nothing for so long is dropped


def is_remote(location: str) -> bool:
    """Whether a place is a URL of another machine; DataError for a kind that we do not read."""
    found = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*)://", location)
    if not found:
        if location.startswith("pipe:"):
            raise DataError(f"{location}: programs are not run to get data; give a file or a URL")
        return False
    scheme = found[1].lower()
    if scheme not in REMOTE and scheme != "file":
        raise DataError(
            f"{location}: '{scheme}' is not a place that can be read; there are {', '.join(sorted(REMOTE))}"
        )
    if scheme != "file":
        _refuse_nowhere(location, location[found.end() :].partition("/")[0])
    return scheme != "file"


def _refuse_nowhere(location: str, host: str) -> None:
    """DataError for a URL without a server or a bucket, or with a torn one: none would ever answer."""
    if not host and not location.startswith("memory:"):
        raise DataError(f"{shown(location)} names no server or bucket; write it behind the ://")
    if host.count("[") != host.count("]"):
        raise DataError(f"{shown(location)} has a bracket in the server's name that is not closed; check the name")


def local_path(location: str) -> Path:
    """The path of a local place: home folder and file:// understood. DataError for a place that no file can have."""
    if "\0" in location:
        raise DataError(f"{shown(location)} holds a zero byte, which no file's name can; check the name")
    if _FILE.match(location):
        return _of_url(location)
    try:
        return Path(location).expanduser()
    except RuntimeError:
        raise DataError(
            f"{shown(location)} begins with the home folder of an unknown user; write the full path"
        ) from None


def _of_url(location: str) -> Path:
    """The path of a file:// URL, its %20 taken as it is where that is there, else as a space."""
    host, slash, path = location[len("file://") :].partition("/")
    if host not in ("", "localhost"):
        raise DataError(f"{shown(location)} is a file of the machine {shown(host)}; mount it, and give its path here")
    written = Path(slash + path)
    return written if "%" not in path or written.exists() else Path(unquote(slash + path))


def filesystem(location: str) -> tuple[Any, str]:
    """(fsspec's file system, the path in it) of a remote place; DataError when what it needs is not installed."""
    import fsspec

    scheme = location.partition("://")[0].lower()
    try:
        fs, path = fsspec.core.url_to_fs(location, **_options(scheme))
    except ImportError as error:
        extra = EXTRAS.get(scheme, scheme)
        raise DataError(f"{location} needs more: pip install 'nextpatch[{extra}]' ({error})") from None
    return fs, path


def patience_s() -> float:
    """Seconds without a success after which reading is given up: $NEXTPATCH_TIMEOUT, or 300."""
    told = os.environ.get("NEXTPATCH_TIMEOUT") or "300"
    try:
        found = float(told)
    except ValueError:
        found = 0.0
    if not 0 < found < math.inf:
        raise DataError(f"$NEXTPATCH_TIMEOUT is '{told}', not a number of seconds; set it to one, like 300")
    return found


def stall_s() -> float:
    """Seconds after which a connection that gives nothing is dropped."""
    return min(STALL_S, patience_s())


def _options(scheme: str) -> dict[str, Any]:
    """Time limits; and no memory of listings, which go stale."""
    if scheme in ("http", "https"):
        import aiohttp

        from nextpatch.data.storage.answer import BoundedResponse

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(30, stall_s()), sock_read=stall_s())
        return {
            "use_listings_cache": False,
            "client_kwargs": {"timeout": timeout, "response_class": BoundedResponse},
        }
    if scheme == "s3":
        limits = {"connect_timeout": min(30, stall_s()), "read_timeout": stall_s(), "retries": {"max_attempts": 1}}
        return {"use_listings_cache": False, "config_kwargs": limits}
    return {}
