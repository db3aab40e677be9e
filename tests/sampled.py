"""Small models that generate, for the tests of all that sample from one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nextpatch.data.config import DataConfig
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.runs.checkpoint import save_checkpoint
from nextpatch.runs.config import TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir
from nextpatch.sampling.config import SamplingConfig
from nextpatch.sampling.known import KnownPixels
from nextpatch.sampling.sampler import Sampler
from nextpatch.tokenizer.artifact import write_artifact
from tokenizers_made import kmeans
from variants import SMALL, built

MEAN, STD = (0.5, 0.4, 0.3), (0.3, 0.25, 0.2)
CLASSES = 3
SIZE = (6, 8)  # of 12 patches of 2 px


def generator_of(head: str = "flow", **values: Any) -> AIM:
    """With random weights, float32."""
    given = {**SMALL, "img_size": SIZE, "head": head, "classes": CLASSES, **values}
    model = built(ModelConfig(**given)).float()
    if model.cfg.is_distribution:
        channels = model.cfg.in_chans
        ends = torch.tensor([-3.0, 3.0])[:, None, None].expand(2, 1, model.cfg.patch_dim)
        model.head.measure([ends], MEAN[:channels], STD[:channels])
    return model


def saved(model: AIM, folder: Path, classes: tuple[str, ...] = ()) -> Path:
    """A run whose only checkpoint holds these weights."""
    channels = model.cfg.in_chans
    data = DataConfig(("demo:test",), mean=MEAN[:channels], std=STD[:channels], classes=classes)
    recipe = Recipe(model.cfg, data, train=TrainConfig(1, global_batch_size=2, micro_batch_size=2, precision="fp32"))
    run = RunDir.create(folder, recipe)
    save_checkpoint(run.checkpoints, 1, {"model": model.state_dict()}, {"step": 1})
    return folder


def coded(folder: Path, codes: int = 7) -> AIM:
    """One that predicts codes of k-means, of pixels as they are."""
    plain = ModelConfig(**SMALL, img_size=SIZE)
    made = kmeans(plain, codes)
    write_artifact(folder / "kmeans.safetensors", made)
    cfg = replace(
        plain, objective="generate", classes=CLASSES, target="tokens", tokenizer=str(folder / "kmeans.safetensors"),
        codes=codes, tokenizer_sha256=made.digest,
    )  # fmt: skip
    return built(cfg).float()


def sampler_of(model: AIM, **config: Any) -> Sampler:
    """With few steps."""
    return Sampler(model, MEAN, STD, SamplingConfig(**{"steps": 3, **config}))


def images_of(
    sampler: Sampler, numbers: list[int], labels: list[int] | None = None, known: KnownPixels | None = None
) -> torch.Tensor:
    """All images of seed 1, in the order of their numbers."""
    found = torch.zeros(len(numbers), sampler.model.cfg.in_chans, *sampler.model.cfg.img_size, dtype=torch.uint8)
    for some in sampler.sample(1, numbers, labels, known):
        found[some.places] = some.images
    return found


def known_pixels(count: int, seed: int = 0) -> KnownPixels:
    """Random images of which nothing is known yet."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, *SIZE), generator=generator).byte()
    return KnownPixels(images, torch.zeros(count, 1, *SIZE, dtype=torch.bool))
