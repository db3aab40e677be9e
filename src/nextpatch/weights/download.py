"""Files of the Hugging Face Hub: fetched once, kept in its cache, resumed, and checked against published digests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from nextpatch.weights.error import WeightsError
from nextpatch.weights.released import SHA256

SNAPSHOT = ("model.safetensors", "pytorch_model.bin")  # files of the weights in a repository, the better one first
_WHOLE = re.compile(r"[0-9a-f]{64}")


def fetched(repo: str, name: str, revision: str | None = None) -> Path:
    """One file of a repository, in the Hub's cache. WeightsError when it cannot be had, or is not what was published.

    What comes over the network for the first time is read once and compared: with the SHA-256 that the Hub names its
    large files by, and with the published first digits for the released files.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    known = isinstance(try_to_load_from_cache(repo, name, revision=revision), str)
    with _HubErrors(repo, name):
        path = Path(hf_hub_download(repo, name, revision=revision))
    if not known:
        check_digest(path, SHA256.get(name, ""))
    return path


def fetched_if_there(repo: str, name: str, revision: str | None = None) -> Path | None:
    """The same, or None when the repository has no such file."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return fetched(repo, name, revision)
    except WeightsError as error:
        absent = isinstance(error.__cause__, EntryNotFoundError)
        if not absent or isinstance(error.__cause__, LocalEntryNotFoundError):
            raise
    return None


def first_fetched(repo: str, names: Sequence[str], revision: str | None = None) -> Path:
    """The first of `names` that the repository has; where the Hub cannot be reached, the first that its cache holds."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    unreached: WeightsError | None = None
    for name in names:
        try:
            path = fetched_if_there(repo, name, revision)
        except WeightsError as error:
            if not isinstance(error.__cause__, LocalEntryNotFoundError):
                raise
            unreached = unreached or error
            continue
        if path is not None:
            return path
    raise unreached or WeightsError(f"{repo} on the Hub has none of {', '.join(names)}; is it a model of this kind?")


def check_digest(path: Path, published: str) -> None:
    """WeightsError, and the file is removed, when its SHA-256 is not the one it should have."""
    real = path.resolve()
    named = real.name if _WHOLE.fullmatch(real.name) else ""
    if not published and not named:
        return
    with real.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found.startswith(published) and found.startswith(named):
        return
    real.unlink()
    path.unlink(missing_ok=True)
    raise WeightsError(
        f"{path.name} came with SHA-256 {found[:12]}..., published is {published or named[:12]}...; it was removed, "
        "try again"
    )


class _HubErrors:
    """What goes wrong on the way to the Hub, as a WeightsError that says what to do."""

    def __init__(self, repo: str, name: str) -> None:
        self._what, self._repo = f"{name} of {repo}", repo

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from huggingface_hub import errors

        if not isinstance(error, Exception):
            return
        if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
            advice = (
                "the Hub cannot be reached from here, and its cache ($HF_HOME) holds no copy; fetch it once with a "
            )
            advice += f"network (hf download {self._repo}), or give the path of the files"
        elif isinstance(error, errors.GatedRepoError):
            advice = "access to it is restricted; request it on its page of the Hub, then: hf auth login"
        elif isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
            advice = "there is no such model on the Hub, and no such file or folder here; check the name"
        elif isinstance(error, errors.EntryNotFoundError):
            advice = "the repository has no such file"
        elif isinstance(error, OSError | errors.HfHubHTTPError):
            advice = f"{str(error).splitlines()[0]}; try again; the download continues where it stopped"
        else:
            return
        raise WeightsError(f"cannot get {self._what}: {advice}") from error
