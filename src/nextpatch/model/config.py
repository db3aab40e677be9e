"""What a model is made of: named sizes and the values that define one (no torch here: `--help` reads this)."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from nextpatch.core.bounds import SEED, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.fields import Flag
from nextpatch.core.text import shown
from nextpatch.model.names import DISTRIBUTIONS, DRAWN_ORDERS, HEADS, OBJECTIVES, ORDERS, TARGETS
from nextpatch.model.rules import check_order, check_tokenizer, check_upscale, settle_attention, settle_generation

Attention = Literal["prefix", "causal", "bidirectional"]
InferenceAttention = Literal["bidirectional", "causal"]
MOST_PATCHES = 2**18


@dataclass(frozen=True)
class Shape:
    """Widths and depths of trunk and pixel head."""

    embed_dim: int
    depth: int
    num_heads: int
    head_width: int
    head_depth: int

    @property
    def head_heads(self) -> int:
        """Attention heads of a head that has some: as wide as the trunk's."""
        return self.head_width * self.num_heads // self.embed_dim


SIZES: dict[str, Shape] = {
    # ours, for laptops and single GPUs: attention heads of 64, a pixel head as wide as the trunk
    "nano": Shape(128, 6, 2, 128, 6),
    "tiny": Shape(192, 12, 3, 192, 12),
    "small": Shape(384, 12, 6, 384, 12),
    "base": Shape(768, 12, 12, 768, 12),
    "large": Shape(1024, 24, 16, 1024, 12),
    # the paper's (Table 1; head width 2048 and depth 12 from Table 4): attention heads of 128
    "600m": Shape(1536, 24, 12, 2048, 12),
    "1b": Shape(2048, 24, 16, 2048, 12),
    "3b": Shape(3072, 24, 24, 2048, 12),
    "7b": Shape(4096, 32, 32, 2048, 12),
}


@dataclass(frozen=True)
class ModelConfig:
    """A model by name, with any width or depth replaced. A 0 means: as the named size says.

    The terms are those of the paper (section 4).
    """

    size: str = "small"
    """Named size: nano, tiny, small, base, large, 600m, 1b, 3b or 7b."""
    img_size: tuple[int, int] = (224, 224)
    """Height and width of the images that the model sees, in pixels (chosen from the data)."""
    patch_size: int = 14
    """Side of a square patch, in pixels (chosen from the data)."""
    in_chans: int = 3
    """Channels of an image (chosen from the data)."""
    embed_dim: int = 0
    """Width of the trunk (default: as the named size says)."""
    depth: int = 0
    """Number of blocks in the trunk (default: as the named size says)."""
    num_heads: int = 0
    """Attention heads in each block of the trunk (default: as the named size says)."""
    head_width: int = 0
    """Width of the head's blocks, where it has any (default: as the named size says)."""
    head_depth: int = 0
    """Number of blocks in the head, where it has any (default: as the named size says)."""
    head: Annotated[str, HEADS] = "mlp"
    """Head that predicts from the trunk's features: mlp, as in the paper; none, a single linear layer; transformer,
    with attention in its blocks; flow, diffusion or density, which are distributions to draw from, density with exact
    likelihoods. See docs/variants.md."""
    objective: Annotated[str, OBJECTIVES] = "next_patch"
    """What is learned: next_patch, each patch from those before it; masked, hidden patches from the others; or
    generate, every patch, the first one too, as a distribution: heads that are one imply it. See docs/variants.md."""
    mask_ratio: float = 0.5
    """Share of an image's patches that the objective masked hides."""
    order: Annotated[str, ORDERS] = "raster"
    """Order in which the patches of an image follow one another: raster, spiral, checkerboard, random, one drawn for
    all images; or, drawn anew for each image, of the objective generate, any, and known_first, raster order behind a
    random set of known patches. See docs/variants.md."""
    order_seed: int = 0
    """Seed of the random order; other orders have none."""
    target: Annotated[str, TARGETS] = "norm_pixels"
    """What is predicted: norm_pixels, normalized by each patch's mean and standard deviation; pixels as they are;
    tokens, the codes of a tokenizer; or distribution, of heads that are one, which imply it."""
    tokenizer: Annotated[str, Flag("FILE")] = ""
    """Tokenizer whose codes are predicted, of target tokens; nextpatch tokenizer fit makes one."""
    codes: int = 0
    """Number of codes of the tokenizer (as the tokenizer says)."""
    tokenizer_sha256: Annotated[str, Flag("DIGEST")] = ""
    """Digest of the tokenizer, which a run must go on with (as the tokenizer says)."""
    attention: Attention = "prefix"
    """Attention in pre-training: prefix, bidirectional in a prefix of random length and causal after it, or causal. The
    objective masked is bidirectional."""
    classes: int = 0
    """Classes that the objective generate is told of, by the images' labels; 0 for none."""
    label_dropout: float = 0.1
    """Share of training images whose class is not told, so that images are also sampled without one."""
    upscale: int = 0
    """Factor by which images are enlarged, of the objective generate: 2, 3 or 4; the image made smaller by it is told
    to every prediction. 0 is none."""
    draws: int = 4
    """Pairs of time and noise that a scored patch is learned from in a step, of heads flow and diffusion."""
    paper_loss: float = 0.0
    """Weight of the paper's loss, of normalized patches and an MLP head of its own, beside that of a head that is a
    distribution, on the same features; 0 for none."""

    def __post_init__(self) -> None:
        check_bounds(
            self, patch_size=(1, 4096), img_size=(1, 2**16), in_chans=(1, 4096), embed_dim=(0, 2**17), depth=(0, 4096),
            num_heads=(0, 4096), head_width=(0, 2**17), head_depth=(0, 4096), order_seed=SEED, mask_ratio=(0.0, 1.0),
            codes=(0, 2**20), classes=(0, 2**20), label_dropout=(0.0, 1.0), draws=(1, 1024),
            paper_loss=(0.0, 1000.0), upscale=(0, 4),
        )  # fmt: skip
        if self.size not in SIZES:
            near = difflib.get_close_matches(self.size.lower(), SIZES, n=1)
            meant = f"did you mean '{near[0]}'? There are" if near else "choose one of"
            raise ConfigError(f"unknown model size '{shown(self.size)}'; {meant} {', '.join(SIZES)}")
        for names, name in ((HEADS, self.head), (OBJECTIVES, self.objective), (ORDERS, self.order)):
            names.check(name)
        TARGETS.check(self.target)
        for name, value in settle_generation(self).items():
            object.__setattr__(self, name, value)
        check_tokenizer(self)
        check_order(self)
        object.__setattr__(self, "attention", settle_attention(self))
        s = self.shape
        for name, side in zip(("height", "width"), self.img_size, strict=True):
            if side % self.patch_size:
                raise ConfigError(
                    f"image {name} {side} is not a multiple of patch_size {self.patch_size}; "
                    f"use {max(1, round(side / self.patch_size)) * self.patch_size}"
                )
        check_upscale(self)
        if self.num_patches > MOST_PATCHES:
            raise ConfigError(
                f"{self.img_size} px at patch_size {self.patch_size} are {self.num_patches:,} patches, more than "
                f"{MOST_PATCHES:,}; use smaller images or larger patches"
            )
        if self.num_patches < 2:
            raise ConfigError(f"{self.img_size} px at patch_size {self.patch_size} is one patch; there is no next one")
        if self.objective == "masked" and not 0 < self.num_masked < self.num_patches:
            hides = "none" if self.num_masked == 0 else "all"
            raise ConfigError(
                f"mask_ratio {self.mask_ratio:g} hides {hides} of {self.num_patches} patches; give one that hides 1 to "
                f"{self.num_patches - 1}, such as 0.5"
            )
        if (self.target == "norm_pixels" or self.paper_loss) and self.patch_dim < 2:
            raise ConfigError("a patch of one value has no variance to normalize by; use a larger patch_size")
        if s.embed_dim % s.num_heads:
            raise ConfigError(f"embed_dim {s.embed_dim} is not divisible by num_heads {s.num_heads}")
        if s.embed_dim % 4 or s.head_width % 4:
            raise ConfigError(
                f"embed_dim {s.embed_dim} and head_width {s.head_width} must be multiples of 4 (positions)"
            )
        if self.head == "transformer" and s.head_width * s.num_heads % s.embed_dim:
            each = s.embed_dim // s.num_heads
            raise ConfigError(
                f"head_width {s.head_width} is not a multiple of {each}, the width of the trunk's attention heads, "
                f"which a transformer head has as well; use {max(1, round(s.head_width / each)) * each}"
            )

    @property
    def shape(self) -> Shape:
        """The size's widths and depths with this config's replacements."""
        given = {k: v for k in Shape.__dataclass_fields__ if (v := getattr(self, k))}
        if self.head == "none":
            given |= {"head_width": 0, "head_depth": 0}
        return replace(SIZES[self.size], **given)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches per column and per row."""
        return self.img_size[0] // self.patch_size, self.img_size[1] // self.patch_size

    @property
    def num_patches(self) -> int:
        """K, the length of the sequence."""
        return self.grid[0] * self.grid[1]

    @property
    def num_masked(self) -> int:
        """Patches of an image that the objective masked hides."""
        return round(self.mask_ratio * self.num_patches)

    @property
    def mask_token(self) -> bool:
        """Whether the model has a mask token: the objective says it (and is loaded for that)."""
        return bool(getattr(OBJECTIVES[self.objective], "mask_token", False))

    @property
    def start_token(self) -> bool:
        """Whether a start token stands before the patches: the objective says it."""
        return bool(getattr(OBJECTIVES[self.objective], "start_token", False))

    @property
    def draws_order(self) -> bool:
        """Whether every image has an order of its own, so that tokens have to be told where the next patch is."""
        return self.order in DRAWN_ORDERS

    @property
    def tokens(self) -> int:
        """Tokens of the sequence that features are made from: the patches, and the start token where there is one."""
        return self.num_patches + self.start_token

    @property
    def is_distribution(self) -> bool:
        """Whether the head is a distribution over patches, which has losses and samples of its own."""
        return self.head in DISTRIBUTIONS

    @property
    def patch_dim(self) -> int:
        """Values in one patch: P * P * C."""
        return self.patch_size * self.patch_size * self.in_chans

    @property
    def outputs(self) -> int:
        """Numbers that the head gives for a patch: the target says it (and is loaded for that)."""
        return int(TARGETS[self.target].outputs(self))

    def without_places(self) -> ModelConfig:
        """The same model for others, who do not have our files: its tokenizer is known by its digest."""
        return replace(self, tokenizer="")

    def resized(self, img_size: tuple[int, int]) -> ModelConfig:
        """The same model for images of another size; where its ratio would mask all or none, the nearest number."""
        count = (img_size[0] // self.patch_size) * (img_size[1] // self.patch_size)
        if self.objective != "masked" or 0 < round(self.mask_ratio * count) < count or count < 2:
            return replace(self, img_size=img_size)
        nearest = min(max(1, round(self.mask_ratio * count)), count - 1)
        return replace(self, img_size=img_size, mask_ratio=nearest / count)

    def resolved(self) -> ModelConfig:
        """The same model with every 0 written out."""
        return replace(self, **self.shape.__dict__)
