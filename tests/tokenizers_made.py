"""Small tokenizers, and views to fit one on, for the tests of all that use one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nextpatch.api.adapters import parts_of
from nextpatch.api.dataset import Dataset
from nextpatch.data.config import DataConfig
from nextpatch.data.loader import TrainStream
from nextpatch.data.mixture import Mixture, MixturePart
from nextpatch.model.config import ModelConfig
from nextpatch.patches import patchify, unpatchify
from nextpatch.tokenizer.artifact import Artifact, TokenizerFacts, write_artifact
from nextpatch.tokenizer.autoencoder import Autoencoder, AutoencoderSizes
from nextpatch.tokenizer.names import TOKENIZERS
from nextpatch.tokenizer.views import Views

FACTS = TokenizerFacts("kmeans", 5, 2, 3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.2), {"norm": False}, {"data": "photos"})


def artifact(facts: TokenizerFacts = FACTS, **tensors: torch.Tensor) -> Artifact:
    """A small tokenizer, with some of its tensors replaced."""
    made = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    return Artifact(facts, {"centers": made, "frequencies": torch.full((5,), 0.2), **tensors})


def kmeans(cfg: ModelConfig, codes: int = 7, norm: bool = False, kind: str = "kmeans") -> Artifact:
    """One for images of a model, of random centers and frequencies that are not equal."""
    draw = torch.Generator().manual_seed(codes)
    facts = TokenizerFacts(
        kind, codes, cfg.patch_size, cfg.in_chans, (0.5,) * cfg.in_chans, (0.25,) * cfg.in_chans, {"norm": norm}
    )
    shares = torch.rand(codes, generator=draw) + 0.1
    centers = torch.randn(codes, cfg.patch_dim, generator=draw)
    return Artifact(facts, {"centers": centers, "frequencies": shares / shares.sum()})


DVAE_OPTIONS = {"pixel_width": 4, "width": 8, "depth": 1, "code_dim": 6}


def dvae(patch: int = 3, channels: int = 2, codes: int = 20, **tensors: Tensor) -> Artifact:
    """A discrete autoencoder of random weights, with the vectors of random patches as codes."""
    torch.manual_seed(0)
    networks = Autoencoder(AutoencoderSizes(patch, channels, **DVAE_OPTIONS))
    for weights in networks.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    facts = TokenizerFacts("dvae", codes, patch, channels, (0.5,) * channels, (0.2,) * channels, dict(DVAE_OPTIONS))
    vectors = networks.encoder(torch.randn(codes, channels, patch, patch)).flatten(0, 2).detach()
    shares = torch.full((codes,), 1 / codes)
    return Artifact(facts, {**networks.state_dict(), "vectors": vectors, "frequencies": shares, **tensors})


class Surroundings:
    """A tokenizer whose codes depend on the whole image: how far a patch's mean lies above the image's, in classes."""

    local, left_out = False, ""

    def __init__(self, made: Artifact) -> None:
        facts = made.facts
        self.kind, self.codes = facts.kind, facts.codes
        self.patch_size, self.in_chans = facts.patch_size, facts.in_chans
        self.mean, self.std, self.digest = facts.mean, facts.std, made.digest
        self.frequencies = made.frequencies()
        self.params, self.flops_per_patch = 0, 0.0

    def encode(self, images: Tensor) -> Tensor:
        means = patchify(images, self.patch_size).mean(dim=-1)
        above = means - images.mean(dim=(1, 2, 3))[:, None]
        return ((above * 4).round().long() + self.codes // 2).clamp(0, self.codes - 1)

    def encode_patches(self, patches: Tensor) -> Tensor:
        raise AssertionError("its codes depend on the whole image")

    def decode(self, codes: Tensor, grid: tuple[int, int]) -> Tensor:
        values = (codes - self.codes // 2)[..., None] / 4 * torch.ones(self.patch_size**2 * self.in_chans)
        return unpatchify(values, grid, self.patch_size)

    def to(self, device: Any) -> Surroundings:
        return self


def of_tokens(
    cfg: dict[str, Any], folder: Path, monkeypatch: Any, codes: int = 7, kind: str = "kmeans", norm: bool = False
) -> ModelConfig:
    """A model of these values that predicts the codes of a tokenizer that was made for it; kinds: also surroundings."""
    monkeypatch.setitem(TOKENIZERS._places, "surroundings", Surroundings)
    path, plain = folder / f"{kind}.safetensors", ModelConfig(**cfg)
    made = dvae(plain.patch_size, plain.in_chans, codes) if kind == "dvae" else kmeans(plain, codes, norm, kind)
    write_artifact(path, made)
    return ModelConfig(**cfg, target="tokens", tokenizer=str(path), codes=codes, tokenizer_sha256=made.digest)


def views(pixels: np.ndarray | None = None, images: int = 0, workers: int = 0, size: int = 16, seed: int = 0) -> Views:
    """Training views of images in memory, "images height width channels", or of made-up ones."""
    if pixels is None:
        small = torch.rand(images, 1, 5, 5, generator=torch.Generator().manual_seed(0)) * 255
        made = torch.nn.functional.interpolate(small, size=(size, size), mode="bilinear")
        pixels = made.byte().permute(0, 2, 3, 1).numpy()
    source, channels = Dataset(parts_of(pixels)).unlabeled, pixels.shape[3]
    mixture = Mixture([MixturePart(source.shard_sizes, np.empty(0, np.int64))], seed)
    cfg = DataConfig()
    stream = TrainStream(source, mixture, cfg, (size, size), channels, seed, workers)
    mean, std = cfg.statistics(channels)
    return Views(stream, mean, std, len(source), torch.device("cpu"))
