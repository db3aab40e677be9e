"""A probe in the grid is the probe alone, and both are the textbook's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextpatch.dist.ranks import ALONE
from nextpatch.model.attentive import probe_flops, probe_heads
from nextpatch.model.config import ModelConfig
from nextpatch.runs.config import OptimConfig
from nextpatch.tasks.probe.attentive import AttentiveGrid
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tasks.probe.fit import Fit, clip_each
from nextpatch.tasks.probe.grid import Grid, batch_moments
from nextpatch.tasks.probe.linear import LinearGrid
from nextpatch.tasks.probe.train import num_steps
from nextpatch.train.schedule import lr_at

SETS, BATCH, PATCHES, DIM, CLASSES, HEADS, STEPS = 2, 12, 5, 8, 4, 2, 20
LRS = (1e-3, 5e-3, 4e-2)
CONFIG = ProbeConfig(Path(), "x", clip_norm=0.5)


def batches(dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    scale = torch.rand(SETS, 1, 1, DIM, generator=generator, dtype=torch.float64) * 30
    return [
        (
            (torch.randn(SETS, BATCH, PATCHES, DIM, generator=generator, dtype=torch.float64) * scale + 5).to(dtype),
            torch.randint(0, CLASSES, (BATCH,), generator=generator),
        )
        for _ in range(STEPS)
    ]


def trained(kind: type[Grid], sets: list[int], lrs: tuple[float, ...], dtype: torch.dtype) -> Grid:
    grid = kind(len(sets), lrs, DIM, CLASSES, HEADS, seed=3).to(dtype)
    fit = Fit(grid, CONFIG, STEPS, labels=10_000)
    for features, labels in batches(dtype):
        fit.step(features[sets], labels)
    return grid.eval()


class Textbook(nn.Module):
    """Equation 4 word by word: keys and values of every patch."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(DIM, eps=1e-6, momentum=None, affine=False)
        self.query = nn.Parameter(torch.zeros(DIM))
        self.key, self.value = nn.Linear(DIM, DIM, bias=False), nn.Linear(DIM, DIM, bias=False)
        self.linear = nn.Linear(DIM, CLASSES)

    def forward(self, features: Tensor) -> Tensor:
        p = self.bn(features.flatten(0, 1)).view_as(features)
        k, v = (w(p).view(len(p), PATCHES, HEADS, -1) for w in (self.key, self.value))
        heads = []
        for h, q in enumerate(self.query.view(HEADS, -1)):
            weights = (k[:, :, h] @ q / q.numel() ** 0.5).softmax(dim=1)
            heads.append((weights[:, :, None] * v[:, :, h]).sum(dim=1))
        return self.linear(torch.cat(heads, dim=1))


class TextbookLinear(nn.Module):
    """Mean of the patches, batch norm, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(DIM, eps=1e-6, momentum=None, affine=False)
        self.linear = nn.Linear(DIM, CLASSES)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.bn(features.mean(dim=1)))


def attentive_reference(grid: Grid) -> nn.Module:
    model = Textbook().double()
    names = {"query": model.query, "key": model.key.weight, "value": model.value.weight}
    return started(model, grid, {**names, "linear": model.linear.weight, "bias": model.linear.bias})


def linear_reference(grid: Grid) -> nn.Module:
    model = TextbookLinear().double()
    return started(model, grid, {"linear": model.linear.weight, "bias": model.linear.bias})


def started(model: nn.Module, grid: Grid, names: dict[str, Tensor]) -> nn.Module:
    with torch.no_grad():
        for name, parameter in names.items():
            parameter.copy_(grid.own(name, 0, 0))
    return model


@pytest.mark.parametrize("batch", [2, 40])
def test_folding_the_linear_map_into_the_values_changes_nothing(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = AttentiveGrid(SETS, LRS, DIM, CLASSES, HEADS, seed=3).double()
    x = torch.randn(SETS, batch, PATCHES, DIM, dtype=torch.float64)
    outputs = []
    for folded in (True, False):
        monkeypatch.setattr("nextpatch.tasks.probe.attentive._folding_is_cheaper", lambda *_, folded=folded: folded)
        logits = grid(x)
        outputs.append((logits, *torch.autograd.grad(logits.square().sum(), list(grid.probes.values()))))
    for ours, theirs in zip(*outputs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


KINDS = [(AttentiveGrid, attentive_reference), (LinearGrid, linear_reference)]


@pytest.mark.parametrize(("kind", "reference"), KINDS)
def test_every_probe_of_the_grid_is_the_textbook_probe(
    kind: type[Grid], reference: Callable[[Grid], nn.Module]
) -> None:
    grid = trained(kind, [0, 1], LRS, torch.float64)
    for s in range(SETS):
        for g, lr in enumerate(LRS):
            model = reference(kind(SETS, LRS, DIM, CLASSES, HEADS, seed=3).double())
            bias = [p for n, p in model.named_parameters() if n == "linear.bias"]
            rest = [p for n, p in model.named_parameters() if n != "linear.bias"]
            groups = [{"params": rest}, {"params": bias, "weight_decay": 0.0}]
            optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999), weight_decay=0.1)
            for step, (features, labels) in enumerate(batches(torch.float64)):
                optimizer.zero_grad()
                F.cross_entropy(model(features[s]), labels).backward()
                nn.utils.clip_grad_norm_(model.parameters(), CONFIG.clip_norm)
                for group in optimizer.param_groups:
                    group["lr"] = lr_at(step, OptimConfig(lr=lr, min_lr=1e-5, warmup_steps=1), STEPS)
                optimizer.step()
            model.eval()
            x = batches(torch.float64)[3][0]
            ours = grid(x)[s, g]
            torch.testing.assert_close(ours, model(x[s]), rtol=1e-8, atol=1e-9)
            torch.testing.assert_close(grid.classifier(s, g).double()(x[s]), ours, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "reference"), KINDS)
def test_a_probe_of_the_grid_is_the_probe_trained_alone(kind: type[Grid], reference: object) -> None:
    together = trained(kind, [0, 1], LRS, torch.float32)
    x = batches(torch.float32)[0][0]
    for s in range(SETS):
        for g, lr in enumerate(LRS):
            alone = trained(kind, [s], (lr,), torch.float32)
            torch.testing.assert_close(together(x)[s, g], alone(x[[s]])[0, 0], rtol=1e-5, atol=1e-5)


def test_a_probe_that_explodes_harms_no_other() -> None:
    wild = trained(LinearGrid, [0, 1], (1e-3, 1e6), torch.float32)
    calm = trained(LinearGrid, [0, 1], (1e-3,), torch.float32)
    x = batches(torch.float32)[0][0]
    assert not wild(x)[:, 1].isfinite().all() or wild(x)[:, 1].abs().max() > 1e6
    torch.testing.assert_close(wild(x)[:, 0], calm(x)[:, 0], rtol=1e-5, atol=1e-5)


def test_each_probe_is_clipped_by_its_own_norm() -> None:
    gradients = [torch.tensor([[[3.0, 0.0], [0.3, 0.0]]]), torch.tensor([[[4.0], [0.4]]])]
    clip_each(gradients, 1.0)
    torch.testing.assert_close(gradients[0], torch.tensor([[[0.6, 0.0], [0.3, 0.0]]]))
    torch.testing.assert_close(gradients[1], torch.tensor([[[0.8], [0.4]]]))


def test_no_key_or_value_is_computed_per_patch() -> None:
    """Operations grow with the patches by 4 heads d per probe and 4 d for the moments, far below the 2 d^2 of a key."""
    from torch.utils.flop_counter import FlopCounterMode

    def flops(patches: int) -> int:
        grid = AttentiveGrid(1, (1e-3,), 64, 10, 4, seed=0)
        with FlopCounterMode(display=False) as counter:
            grid(torch.randn(1, 16, patches, 64))
        return counter.get_total_flops()

    assert flops(40) - flops(20) == 20 * 16 * (2 * (2 * 4 * 64) + 4 * 64)


def test_the_formula_counts_what_a_step_computes() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    cfg, classes, batch = ModelConfig(img_size=(56, 56), embed_dim=64, num_heads=4, depth=1), 300, 16
    grid = AttentiveGrid(1, (1e-3,), 64, classes, probe_heads(64, 4), seed=0).eval()
    own = {name: value.detach().requires_grad_() for name, value in grid.parameters_of(0).items()}
    with FlopCounterMode(display=False) as counter:
        grid.of_set(0, torch.randn(batch, 16, 64), own).sum().backward()
    assert counter.get_total_flops() / batch == pytest.approx(probe_flops(cfg, classes, batch), rel=0.02)


def test_moments_lose_no_digits_far_from_zero() -> None:
    rows = torch.randn(3000, 7, dtype=torch.float64) * 0.3 + 500
    found = batch_moments(rows.float(), ALONE)
    torch.testing.assert_close(found.mean.double(), rows.float().double().mean(dim=0), rtol=1e-6, atol=0)
    torch.testing.assert_close(found.var.double(), rows.float().double().var(dim=0, correction=0), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("dim", "trunk", "heads"), [(1536, 12, 12), (384, 6, 24), (128, 2, 32), (96, 3, 24), (48, 3, 12), (12, 3, 3)]
)
def test_heads_of_a_narrow_trunks_probe_are_more_than_its_own(dim: int, trunk: int, heads: int) -> None:
    assert probe_heads(dim, trunk) == heads
    assert dim % heads == 0


def test_few_labels_have_no_fewer_updates_and_more_decay() -> None:
    assert [num_steps(CONFIG, labels) for labels in (12, 100, 1000)] == [480, 480, 496]
    assert num_steps(ProbeConfig(Path(), "x", epochs=2), 100) == 6
    assert [CONFIG.decay(labels) for labels in (100, 2000, 10_000, 50_000)] == [1.0, 0.5, 0.1, 0.1]
    assert ProbeConfig(Path(), "x", weight_decay=0.0).decay(100) == 0.0
    assert ProbeConfig(Path(), "x", augment="paper").decay(100) == 0.1
