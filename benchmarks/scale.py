"""Training steps under the engine: images/s, TFLOP/s, share of the device's measured peak (MFU), peak memory.

    torchrun --standalone --nproc-per-node gpu benchmarks/scale.py [--models 600m 1b] [--steps 10]
    torchrun --standalone --nproc-per-node 1 benchmarks/scale.py --models nano --img-size 56 --batches 4 --no-compile

For each model, with and without compile and for each activation checkpointing: the largest power of two of images a
rank that fits (on a GPU; --batches names them instead), then the median of so many steps of the real training code:
FSDP2, bfloat16, packed loss, clipping, AdamW, prefixes drawn as in a run, images already on the device. The peak is
measured here, by the fastest of several large bfloat16 matrix products; FLOPs are those of `model.count`, which counts
what the packed loss computes, so MFU is the share of useful work, and what is computed twice does not count.
"""

from __future__ import annotations

import argparse
import gc
import time
from itertools import product
from statistics import median

import torch

from nextpatch.data.loader import Batch
from nextpatch.dist.config import EngineConfig
from nextpatch.dist.materialize import materialize
from nextpatch.dist.mesh import open_mesh
from nextpatch.dist.ranks import Ranks
from nextpatch.model.config import ModelConfig
from nextpatch.model.precision import Dtype, resolve_device
from nextpatch.objective.cost import train_step_flops
from nextpatch.objective.objective import scored_count
from nextpatch.objective.registry import objective_of
from nextpatch.runs.config import OptimConfig
from nextpatch.train.compute import Compute
from nextpatch.train.optimizer import build_optimizer, prepare_state
from nextpatch.train.step import accumulate_gradients, gradient_norm, update


def measured_peak(device: torch.device) -> float:
    """FLOP/s of the fastest of some square bfloat16 products."""
    sizes = (4096, 8192) if device.type == "cuda" else (512, 1024)
    return max(_product(size, device) for size in sizes)


def _product(size: int, device: torch.device) -> float:
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(12):
        wait(device)
        start = time.perf_counter()
        a @ b
        wait(device)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times[2:])


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure(
    ranks: Ranks, cfg: ModelConfig, engine: EngineConfig, batch_size: int, steps: int, device: torch.device
) -> tuple[float, float, float]:
    """(seconds a step, FLOPs a step on this rank, peak bytes) with `batch_size` images on each rank."""
    precision: Dtype = "bf16"
    shard = engine.shard or ranks.size
    mesh = open_mesh((ranks.size // shard, shard), device)
    model = materialize(cfg, 0, mesh, engine, precision, device)
    optimizer = build_optimizer(model, OptimConfig())
    prepare_state(optimizer)
    compute, objective = Compute(device, precision, (0.5,) * 3, (0.25,) * 3), objective_of(cfg)
    images = torch.randint(0, 256, (batch_size, 3, *cfg.img_size), dtype=torch.uint8, device=device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times, flops = [], []
    for step in range(steps + 3):  # the first ones compile and warm up
        wait(device)
        start = time.perf_counter()
        positions = torch.arange(batch_size) + (step * ranks.size + ranks.rank) * batch_size
        draws = objective.draw(0, positions)
        own = scored_count(objective, draws)
        scored = int(ranks.sum([own])[0])
        batch = Batch(images, positions, positions, [])
        share = accumulate_gradients(objective, model, batch, draws, scored, batch_size, compute)
        _, norm = torch.stack((share.total(), gradient_norm(model))).tolist()
        update(model, optimizer, norm, 1.0)
        optimizer.zero_grad(set_to_none=True)
        wait(device)
        times.append(time.perf_counter() - start)
        flops.append(batch_size * train_step_flops(cfg, own / batch_size))
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    return median(times[3:]), sum(flops[3:]) / steps, peak


def largest(ranks: Ranks, cfg: ModelConfig, engine: EngineConfig, batches: list[int], steps: int) -> str:
    """The line for the last of `batches` that fits."""
    device, best = resolve_device(), "does not fit"
    peak_flops = measured_peak(device)
    for batch_size in batches:
        try:
            seconds, flops, peak = measure(ranks, cfg, engine, batch_size, steps, device)
        except torch.OutOfMemoryError:
            break
        finally:
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
        rate = flops / seconds
        best = (
            f"{batch_size:4} images a rank  {ranks.size * batch_size / seconds:8.1f} images/s  "
            f"{rate / 1e12:7.2f} TFLOP/s a rank  {rate / peak_flops:6.1%} of {peak_flops / 1e12:.1f}  "
            f"{peak / 2**30:5.1f} GiB"
        )
    return best


def main() -> None:
    """Print a line for every model and setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["600m", "1b"])
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32, 64, 128, 256, 512])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--shard", type=int, default=0)
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    with Ranks.opened() as ranks:
        for size, compiled, how in product(args.models, (False, True), ("none", "selective", "full")):
            if compiled and args.no_compile:
                continue
            cfg = ModelConfig(size=size, img_size=(args.img_size,) * 2)
            engine = EngineConfig(shard=args.shard, activation_checkpointing=how, compile=compiled)
            line = largest(ranks, cfg, engine, args.batches, args.steps)
            if ranks.is_main:
                print(f"{size:>6}  compile {'yes' if compiled else 'no ':3}  checkpointing {how:9}  {line}", flush=True)


if __name__ == "__main__":
    main()
