"""The memory formula against what really happens: a thousand simulated ranks, and a real run on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from nextpatch.dist.config import EngineConfig
from nextpatch.dist.parallelize import parallelize
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.count import count_params
from nextpatch.model.init import init_weights
from nextpatch.model.precision import autocast
from nextpatch.objective.next_patch import with_prefix
from nextpatch.objective.objective import scored_count
from nextpatch.objective.registry import objective_of
from nextpatch.train.memory import Setting, kept_bytes, largest_micro_batch, step_memory

TESTS = Path(__file__).parents[1]
SIMULATED = [  # size, replicate, shard, images, checkpointing: 1,024 ranks each
    ("600m", 1024, 1, 8, "none"),
    ("600m", 1024, 1, 32, "full"),
    ("1b", 128, 8, 4, "full"),
    ("1b", 1024, 1, 16, "selective"),
    ("3b", 128, 8, 4, "none"),
    ("3b", 1, 1024, 8, "full"),
    ("7b", 16, 64, 4, "none"),
    ("7b", 16, 64, 4, "full"),
    ("7b", 128, 8, 2, "selective"),
    ("7b", 1, 1024, 1, "none"),
]


def run(*words):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS), "MALLOC_TRIM_THRESHOLD_": "0",
           "MALLOC_MMAP_THRESHOLD_": "65536"}  # fmt: skip
    done = subprocess.run([sys.executable, *map(str, words)], env=env, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("case", SIMULATED, ids=str)
def test_a_simulated_rank_of_a_thousand_holds_what_the_formula_says(case):
    size, _, shard, images, recompute = case
    cfg = ModelConfig(size=size)
    found = run(TESTS / "simulation.py", *case)
    memory = step_memory(cfg, Setting(2, shard, True, recompute), images, found["scored"])
    kept = images * kept_bytes(cfg, 2, recompute, "fused", found["scored"])
    assert memory.weights == pytest.approx(found["weights"], rel=0.01)
    assert memory.weights + memory.optimizer == pytest.approx(found["state"], rel=0.01)
    assert kept == pytest.approx(found["kept"], rel=0.05)
    assert memory.total == pytest.approx(found["peak"], rel=0.05)
    several = step_memory(cfg, Setting(2, shard, True, recompute, several=True), images, found["scored"])
    assert several.total == pytest.approx(found["several"], rel=0.05)


REAL = """
import ctypes, json, sys, torch
torch.set_num_threads(1)
from nextpatch.data.loader import Batch
from nextpatch.model.config import ModelConfig
from nextpatch.train.compute import Compute
from nextpatch.runs.config import OptimConfig
from nextpatch.dist.config import EngineConfig
from nextpatch.dist.materialize import materialize
from nextpatch.train.optimizer import build_optimizer, prepare_state
from nextpatch.objective.next_patch import NextPatch, with_prefix
from nextpatch.train.step import accumulate_gradients, gradient_norm, update

def memory(line):
    return next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith(line))

def steps(size, depth, images, precision, how, micro_batches, count):
    cfg, cpu = ModelConfig(size=size, depth=depth), torch.device("cpu")
    model = materialize(cfg, 0, None, EngineConfig(activation_checkpointing=how), precision, cpu)
    optimizer = build_optimizer(model, OptimConfig())
    prepare_state(optimizer)
    pixels = torch.randint(0, 256, (images * micro_batches, 3, *cfg.img_size), dtype=torch.uint8)
    prefix = torch.linspace(1, cfg.num_patches - 1, images).long().repeat(micro_batches)
    scored = int((cfg.num_patches - prefix).sum())
    batch = Batch(pixels, prefix, prefix, [])
    for _ in range(count):
        compute = Compute(cpu, precision, (0.5,) * 3, (0.25,) * 3)
        accumulate_gradients(NextPatch(cfg), model, batch, with_prefix(prefix), scored, images, compute)
        update(model, optimizer, float(gradient_norm(model)), 1.0)
        optimizer.zero_grad(set_to_none=True)
    return scored / len(prefix)

size, precision, how = sys.argv[1], sys.argv[4], sys.argv[5]
depth, images, several = int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[6])
steps("nano", 1, 2, precision, how, several, 1)  # what is loaded at first use
ctypes.CDLL("libc.so.6").malloc_trim(0)
open("/proc/self/clear_refs", "w").write("5")  # forget the highest mark so far
before = memory("VmRSS")
scored = steps(size, depth, images, precision, how, several, 2)
print(json.dumps([memory("VmHWM") - before, scored]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc to measure the peak")
@pytest.mark.parametrize(
    ("size", "depth", "images", "precision", "how", "several"),
    [
        ("small", 3, 8, "bf16", "none", 1),
        ("small", 6, 4, "fp32", "none", 2),
        ("small", 6, 4, "bf16", "none", 2),
        ("small", 4, 12, "fp32", "none", 1),
        ("small", 6, 12, "bf16", "full", 1),
    ],
)
def test_a_real_run_peaks_where_the_formula_says(size, depth, images, precision, how, several):
    measured, scored = run("-c", REAL, size, depth, images, precision, how, several)
    low = precision == "bf16"
    setting = Setting(2 if low else 4, 1, False, how, "written out" if low else "fused", several > 1)
    assert step_memory(ModelConfig(size=size, depth=depth), setting, images, scored).total == pytest.approx(
        measured, rel=0.10
    )


CFG = ModelConfig("nano", (32, 32), 4, 3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("how", ["none", "full"])
@pytest.mark.parametrize(
    ("head", "objective"),
    [
        *product(["mlp", "none", "transformer"], ["next_patch", "masked"]),
        ("flow", "generate"),
        ("any", "generate"),
        ("diffusion", "generate"),
        ("density", "generate"),
        ("both", "generate"),
    ],
)
def test_what_autograd_keeps_is_what_the_formula_says(precision, how, head, objective):
    other = {"any": {"order": "any", "upscale": 2}, "both": {"paper_loss": 1.0}}.get(head, {})
    cfg = replace(CFG, head="flow" if other else head, objective=objective, **other)
    model = AIM(cfg)
    init_weights(model, 0)
    parallelize(model, None, EngineConfig(activation_checkpointing=how), precision)
    constants = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}

    def saved(images):
        storages, alive = {}, []

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in constants:
                storages[storage.data_ptr()] = storage.nbytes()
                alive.append(tensor)
            return tensor

        task, cpu, pixels = objective_of(cfg), torch.device("cpu"), torch.randint(0, 256, (images, 3, 32, 32)) / 255
        draws = with_prefix(torch.linspace(1, CFG.num_patches - 1, images).long())
        if objective != "next_patch":
            draws = task.draw(0, torch.arange(images))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast(cpu, precision):
            task.loss_sum(model, pixels, draws)
        return sum(storages.values()), scored_count(task, draws)

    (most, all_scored), (least, some) = saved(16), saved(8)  # the difference leaves out copies of the weights
    scored = (all_scored - some) / 8
    width, kernel = (2, "written out") if precision == "bf16" else (4, "fused")
    assert 8 * kept_bytes(cfg, width, how, kernel, scored) == pytest.approx(most - least, rel=0.05)


def test_what_is_recomputed_and_what_is_sharded_takes_less():
    cfg = ModelConfig(size="1b")
    totals = [step_memory(cfg, Setting(2, 8, True, how), 16).total for how in ("none", "selective", "full")]
    assert totals == sorted(totals, reverse=True)
    sharded = [step_memory(cfg, Setting(2, shard), 16).total for shard in (1, 2, 8, 64)]
    assert sharded == sorted(sharded, reverse=True)


@pytest.mark.parametrize("share", [None, 1, 8, 24])
def test_the_largest_micro_batch_fits_and_twice_as_many_do_not(share):
    cfg = ModelConfig(size="600m")

    def total(images):
        several = share is None or images < share
        return step_memory(cfg, Setting(2, 8, several=several), images).total

    for room in (4 * 2**30, 40 * 2**30, 80 * 2**30):
        images = largest_micro_batch(cfg, Setting(2, 8), room, share=share)
        assert images & (images - 1) == 0
        assert images == 0 or total(images) <= room
        assert total(2 * images or 1) > room
    assert largest_micro_batch(cfg, Setting(2, 8), 80 * 2**30, most=4) == 4
    assert largest_micro_batch(cfg, Setting(2, 8), 2**30) == 0


def test_gradients_of_earlier_micro_batches_take_room_beside_what_is_kept():
    cfg = ModelConfig(size="600m")
    once, several = (step_memory(cfg, Setting(2, 1, several=more), 8).total for more in (False, True))
    assert once < several <= once + 4 * count_params(cfg).total


@pytest.mark.parametrize("shard", [1, 8])
def test_averaged_weights_take_four_bytes_a_parameter(shard):
    cfg = ModelConfig("600m")
    without, with_them = (step_memory(cfg, Setting(2, shard, averages=more), 8) for more in (False, True))
    assert with_them.total - without.total == with_them.averages == 4 * count_params(cfg).total // shard
    assert without.averages == 0
