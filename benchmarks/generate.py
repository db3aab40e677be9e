"""What generated images are measured with: a small classifier of the images that come with nextpatch, and its floor.

    python benchmarks/generate.py classifier.onnx

trains it on demo:train where there is no such file yet (five minutes of one core) and prints its digest, its accuracy
on demo:test, and how far training images are from as many test images: the floor under every figure of generated
images. The file is what `nextpatch evaluate-samples --features classifier.onnx` takes: output "features", 128 means
before the last layer, for distances; output "logits" for the classes that it recognizes. A new file gives other
distances: docs/log.md names the digest of the one that all figures are of.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nextpatch
from nextpatch.data.loader import eval_batches
from nextpatch.data.sources.open import open_source
from nextpatch.measure.frechet import FeatureMoments
from nextpatch.tasks.evaluate.graph import graph_of

SIDE, WIDTH, EPOCHS, BATCH = 28, 128, 14, 128
AVERAGED = 0.995  # decay of the averaged weights, a step
VARIANCE = 320.0  # of all features of demo:train together: distances are then about those of the first prototype
FLOORS = (5000, 2000, 1000)


class Block(nn.Module):
    """Two convolutions beside a short cut."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv_1, self.conv_2 = _conv(into, out, 3, stride), _conv(out, out, 3, 1)
        self.norm_1, self.norm_2 = nn.BatchNorm2d(out), nn.BatchNorm2d(out)
        plain = stride == 1 and into == out
        self.short = nn.Identity() if plain else nn.Sequential(_conv(into, out, 1, stride), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm_2(self.conv_2(F.relu(self.norm_1(self.conv_1(x)))))
        return F.relu(inner + self.short(x))


class Classifier(nn.Module):
    """Gray pixels in [0, 1] -> (features, logits). Features are scaled to VARIANCE when it is trained."""

    scale: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))
        self.stem = nn.Sequential(_conv(1, 32, 3, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2))
        self.blocks = nn.Sequential(Block(32, 32, 1), Block(32, 64, 2), Block(64, WIDTH, 2))
        self.last = nn.Linear(WIDTH, classes)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features = self.blocks(self.stem((pixels - 0.2860) / 0.3530)).mean(dim=(2, 3))
        return self.scale * features, self.last(features)


def _conv(into: int, out: int, size: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(into, out, size, stride, size // 2, bias=False)


def arrays(data: str) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """(uint8 images, labels, names of the classes) of a collection that fits into memory."""
    source = open_source(data)
    batches = list(eval_batches(source, np.arange(len(source)), (SIDE, SIDE), 1, 1000))
    return torch.cat([b.images for b in batches]), torch.cat([b.labels for b in batches]), source.classes


def trained(seed: int = 0) -> Classifier:
    """On demo:train, with shifts, mirror images and a square left out; the averaged weights are the result."""
    images, labels, classes = arrays("demo:train")
    torch.manual_seed(seed)
    model = Classifier(len(classes)).to(memory_format=torch.channels_last)
    averaged = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGED), use_buffers=True
    )
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.15, total_steps=steps, pct_start=0.2)
    began = time.process_time()
    for epoch in range(EPOCHS):
        order = torch.randperm(len(images))[: len(images) // BATCH * BATCH].view(-1, BATCH)
        for rows in order:
            _, logits = model(_augmented(images[rows]))
            loss = F.cross_entropy(logits, labels[rows], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            averaged.update_parameters(model)
        spent = time.process_time() - began
        print(f"epoch {epoch + 1}/{EPOCHS}: loss {loss.item():.3f}, {spent:.0f} s", flush=True)
    return scaled(averaged.module.eval(), images)


@torch.no_grad()
def scaled(model: Classifier, images: Tensor) -> Classifier:
    """With features of VARIANCE."""
    moments = FeatureMoments(WIDTH)
    for some in images.split(500):
        moments.add(model(some.float() / 255)[0])
    model.scale.copy_((VARIANCE / moments.covariance.trace()).sqrt())
    return model


def _augmented(images: Tensor) -> Tensor:
    """Shifted by up to 2 px, half of them mirrored, a square of up to 8 px left out of each."""
    pixels = F.pad(images.float() / 255, (2, 2, 2, 2))
    x, y = torch.randint(0, 5, (2,)).tolist()
    pixels = pixels[:, :, y : y + SIDE, x : x + SIDE]
    pixels = torch.where(torch.rand(len(pixels), 1, 1, 1) < 0.5, pixels.flip(3), pixels)
    at, place = torch.randint(-8, SIDE, (2, len(pixels), 1)), torch.arange(SIDE)
    rows, columns = ((place >= start) & (place < start + 8) for start in at)
    return pixels * ~(rows[:, None, :, None] & columns[:, None, None, :])


def save(model: Classifier, path: Path, classes: tuple[str, ...]) -> None:
    """As ONNX, any batch size."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    example = torch.rand(2, 1, SIDE, SIDE)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model, (example,), input_names=["pixels"], output_names=["features", "logits"], dynamo=True,
            dynamic_shapes=({0: batch},), verbose=False,
        )  # fmt: skip
    program.model.metadata_props.update({"classes": json.dumps(list(classes))})
    program.save(str(path), external_data=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classifier", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.classifier.exists():
        save(trained(), given.classifier, open_source("demo:train").classes)
    print(f"{given.classifier}: SHA-256 {hashlib.sha256(given.classifier.read_bytes()).hexdigest()}")
    graph = graph_of(given.classifier)
    images, labels, _ = arrays("demo:test")
    right = torch.cat([graph(some)[1].argmax(dim=1) for some in images.split(500)]) == labels
    print(f"{100 * float(right.float().mean()):.2f} % of {len(labels):,} test images right", flush=True)
    for count in FLOORS:
        found = nextpatch.evaluate_samples(
            "demo:train", "demo:test", features=given.classifier, count=count, batch_size=500, quiet=True
        )
        one = found.distances[0]
        kernel, shares = one.kernel, one.precision_recall
        print(
            f"{one.images:,} training against {one.others:,} test images: Fréchet {one.frechet:.2f}, kernel "
            f"{kernel.value:.3f} ± {kernel.deviation:.3f}, precision {shares.precision:.3f} recall {shares.recall:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
