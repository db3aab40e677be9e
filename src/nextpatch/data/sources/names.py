"""Data by a name of ours rather than by a place: `KIND:WHAT`, and who opens each kind."""

from __future__ import annotations

from nextpatch.core.registry import Registry

# each takes the whole text, `KIND:WHAT`, and gives a Source; such a text means the same from every folder
SOURCES = Registry(
    "kind of data",
    hub="nextpatch.data.sources.open:open_hub",
    torchvision="nextpatch.data.sources.torchvision:TorchvisionSource",
    demo="nextpatch.data.sources.shipped:open_shipped",
    python="nextpatch.data.sources.held:held",
)


def kind_of(spec: str) -> str | None:
    """The kind that a text names, before its first colon; None where it is a place, as a path or a URL."""
    kind, colon, _ = spec.partition(":")
    return kind if colon and kind in SOURCES else None
