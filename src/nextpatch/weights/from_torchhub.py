"""torchhub:REPOSITORY:ENTRY, a vision transformer that the repository's own code builds, after a question."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nextpatch.core.text import shown
from nextpatch.weights.error import WeightsError
from nextpatch.weights.foreign import Taps, check_sides, hooked


def of_torchhub(name: str, img_size: tuple[int, int] | None) -> tuple[nn.Module, Taps, dict[str, Any]]:
    """OWNER/REPO:ENTRY or FOLDER:ENTRY with `blocks` and `get_intermediate_layers`, as DINO and DINOv2 have them.

    This runs the repository's code, so it asks first, for a folder as for a repository; the answer is remembered.
    """
    repo, _, entry = name.rpartition(":")
    if not repo:
        raise WeightsError(f"torchhub:{name} names no entry; write torchhub:facebookresearch/dinov2:dinov2_vitl14")
    local = repo.startswith(("/", ".", "~")) or Path(repo).is_absolute()
    if local:
        repo = str(Path(repo).expanduser().resolve())
        _ask(repo)
    try:
        source = "local" if local else "github"
        model: Any = torch.hub.load(repo, entry, source=source, trust_repo="check")  # type: ignore[no-untyped-call]
    except EOFError:
        raise WeightsError(f"torchhub:{shown(name)} {_NOBODY}") from None
    except Exception as error:  # the repository's own code may raise anything
        raise WeightsError(f"torchhub:{shown(name)}: {shown(' '.join(str(error).split())[:300])}") from None
    if not hasattr(model, "get_intermediate_layers") or not hasattr(model, "blocks"):
        raise WeightsError(f"torchhub:{name} has no get_intermediate_layers; use nextpatch.weights.foreign.backbone_of")
    model.to(torch.float32)
    sides = img_size or (224, 224)
    patch = model.patch_embed.patch_size
    patch = patch if isinstance(patch, int) else patch[0]
    check_sides(f"torchhub:{shown(name)}", sides, patch)
    patches = (sides[0] // patch) * (sides[1] // patch)

    def forward(images: Tensor) -> object:
        return model.get_intermediate_layers(images, 1)

    taps = hooked(_blocks(model.blocks), forward, patches)
    return model, taps, {"img_size": sides, "num_heads": getattr(model, "num_heads", 0)}


def _blocks(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """The blocks in order; DINOv2 keeps them in chunks that are padded in front."""
    found: list[nn.Module] = []
    for module in modules:
        found += _blocks(module) if isinstance(module, nn.ModuleList) else [module]
    return [module for module in found if not isinstance(module, nn.Identity)]


_NOBODY = (
    "runs the repository's own code, and there is no terminal to ask whether you trust it. Run the command once in a "
    "terminal and answer y, or build the model yourself and give it to nextpatch.weights.foreign.backbone_of"
)


def _ask(folder: str) -> None:
    """WeightsError unless a person trusts the code in a folder, now or before: kept where torch.hub keeps answers."""
    answers = Path(torch.hub.get_dir()) / "trusted_list"
    if answers.is_file() and folder in answers.read_text("utf-8", "replace").splitlines():
        return
    try:
        print(
            f"{shown(folder)}/hubconf.py is a program and will be run. Do you trust it (y/N)? ", end="", file=sys.stderr
        )
        answer = input()
    except (EOFError, OSError):
        raise WeightsError(f"torchhub:{shown(folder)} {_NOBODY}") from None
    if answer.strip().lower() not in ("y", "yes"):
        raise WeightsError(f"{shown(folder)} is not trusted, so its code was not run")
    answers.parent.mkdir(parents=True, exist_ok=True)
    with answers.open("a", encoding="utf-8") as file:
        file.write(folder + "\n")
