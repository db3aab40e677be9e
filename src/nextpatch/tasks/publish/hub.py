"""A folder for the Hub, and its upload."""

from __future__ import annotations

import tempfile
from pathlib import Path

from nextpatch.config import ConfigError
from nextpatch.core.files import write_text
from nextpatch.model.config import InferenceAttention
from nextpatch.tasks.publish.card import card
from nextpatch.weights.error import WeightsError
from nextpatch.weights.load import load
from nextpatch.weights.snapshot import save_snapshot


def write_for_hub(
    weights: str,
    repo: str,
    folder: Path,
    layers: str = "",
    license: str = "other",
    step: int | None = None,
    img_size: tuple[int, int] | None = None,
    attention: InferenceAttention | None = None,
    raw: bool = False,
) -> Path:
    """config.json, model.safetensors in the released layout, a pixel head where there is one, and README.md."""
    backbone = load(weights, layers=layers, step=step, img_size=img_size, attention=attention, raw=raw)
    save_snapshot(backbone, folder)
    write_text(folder / "README.md", card(backbone, repo, Path(weights), license, step, raw))
    return folder


def push(
    weights: str,
    repo: str,
    private: bool = False,
    layers: str = "",
    license: str = "other",
    step: int | None = None,
    img_size: tuple[int, int] | None = None,
    attention: InferenceAttention | None = None,
    raw: bool = False,
) -> str:
    """Upload such a folder to `repo` (OWNER/NAME), which is made where it is not there; returns its address.

    ConfigError when huggingface_hub is not installed, WeightsError when the Hub refuses.
    """
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
    except ImportError:
        raise ConfigError("this needs huggingface_hub; install it with: pip install 'nextpatch[hub]'") from None
    with tempfile.TemporaryDirectory() as name:
        folder = write_for_hub(weights, repo, Path(name), layers, license, step, img_size, attention, raw)
        try:
            api = HfApi()
            address = api.create_repo(repo, private=private, exist_ok=True)
            api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Upload by nextpatch")
        except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OSError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise WeightsError(f"cannot push to {repo}: {reason}; log in first: hf auth login") from error
    return str(address)
