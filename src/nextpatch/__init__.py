"""Next-patch prediction for images: pre-train, measure and use autoregressive image models (AIM, arXiv 2401.08541)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nextpatch.api.images import dataset as dataset
    from nextpatch.weights.backbone import Backbone as Backbone
    from nextpatch.weights.load import load as load

_PLACES = {
    "Backbone": "nextpatch.weights.backbone",
    "dataset": "nextpatch.api.images",
    "load": "nextpatch.weights.load",
}
__all__ = ["Backbone", "dataset", "load"]


def __getattr__(name: str) -> Any:
    """What the package offers, imported when it is first used: `--help` must not wait for torch."""
    if name == "__version__":
        from importlib.metadata import version

        return version("nextpatch")
    if name not in _PLACES:
        raise AttributeError(f"module 'nextpatch' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
