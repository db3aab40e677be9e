"""The four models that the authors released: where they lie, which layers they were probed at, and their digests."""

from __future__ import annotations

from dataclasses import dataclass

from nextpatch.model.config import SIZES

PAIRS = "apple/AIM"  # the repository of the .pth files: backbones, and two attention heads for each
LAST = 6  # how many of the last blocks a head of the last layers reads


@dataclass(frozen=True)
class Released:
    """One model: its name on the Hub, its size here, and the six blocks (0-based) that were best on ImageNet.

    `stem` begins the names of its .pth files in PAIRS; the three digests are the first digits of the published SHA-256
    of backbone, head of the last layers and head of the best layers. Source: the release's page, section 5.4.
    """

    hub: str
    size: str
    best: tuple[int, ...]
    stem: str
    sha256: tuple[str, str, str]

    @property
    def files(self) -> dict[str, str]:
        """Name in PAIRS -> first digits of its SHA-256."""
        endings = ("backbone", "head_last_layers", "head_best_layers")
        return {f"{self.stem}_{end}.pth": digits for end, digits in zip(endings, self.sha256, strict=True)}

    def head_file(self, layers: str) -> str:
        """The attention head that reads the "last" or the "best" layers."""
        return f"{self.stem}_head_{layers}_layers.pth"


MODELS = (
    Released("apple/aim-600M", "600m", tuple(range(14, 20)), "aim_600m_2bimgs_attnprobe",
             ("0d6f6b8f", "5ce5a341", "ebd45c05")),
    Released("apple/aim-1B", "1b", tuple(range(12, 18)), "aim_1b_5bimgs_attnprobe",
             ("d254ecd3", "db3be2ad", "f1ed7852")),
    Released("apple/aim-3B", "3b", tuple(range(12, 18)), "aim_3b_5bimgs_attnprobe",
             ("8475ce4e", "5c057b30", "ad380e16")),
    Released("apple/aim-7B", "7b", tuple(range(14, 20)), "aim_7b_5bimgs_attnprobe",
             ("184ed94c", "1e5c99ba", "73ecd732")),
)  # fmt: skip
BEST_BY_WIDTH = {SIZES[model.size].embed_dim: model.best for model in MODELS}
SHA256 = {name: digits for model in MODELS for name, digits in model.files.items()}


def released(hub: str) -> Released | None:
    """The released model of that name on the Hub, however its letters are cased."""
    return next((model for model in MODELS if model.hub.lower() == hub.lower()), None)
