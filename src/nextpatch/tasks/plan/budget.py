"""The figures of a plan: operations, memory, communication, time; and which mesh to take.

Communication of a step, bytes that a rank sends, with P parameters, s ranks to a copy, r copies, a micro-batches:
all-gather of bfloat16 weights in forward and again in backward, 4 P (s - 1) / s, and reduce-scatter of float32
gradients, 4 P (s - 1) / s, both a times; all-reduce among copies, 8 P / s (r - 1) / r, once. Each is made
for every block by itself, and for what is left. Seconds: communication.py.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from nextpatch.dist.config import Recompute
from nextpatch.model.config import ModelConfig
from nextpatch.model.count import count_params
from nextpatch.model.heads.paper import heads_of
from nextpatch.model.variant import variant_of
from nextpatch.objective.cost import recomputed_flops, target_flops, train_step_flops, work_of
from nextpatch.tasks.plan.communication import all_reduce_s, replica_group, ring_s, shard_group
from nextpatch.tasks.plan.config import MODES, PlanConfig
from nextpatch.tokenizer.of_model import settled
from nextpatch.train.memory import Memory, Setting, largest_micro_batch, step_memory

GIB = 2**30


@dataclass(frozen=True)
class Option:
    """One way of laying the model on the GPUs: mesh, what backward computes again, and what that comes to.

    `micro_batch_size` 0: it does not fit. Bytes and seconds of communication are those of one rank and step.
    """

    replicate: int
    shard: int
    recompute: Recompute
    micro_batch_size: int
    memory: Memory
    gathered_bytes: float
    scattered_bytes: float
    reduced_bytes: float
    communication_s: float
    compute_s: float

    @property
    def step_s(self) -> float:
        """Seconds of a step, communication going on beside the computation."""
        return max(self.compute_s, self.communication_s)


@dataclass(frozen=True)
class Budget:
    """What a run needs and costs; `choice` is the quickest option that fits, None when nothing does.

    Of equally quick ones it computes the least again, and then is the farthest from the limits of memory and links.
    """

    variant: str
    params: dict[str, int]
    flops_per_image: float
    target_flops_per_image: float | None  # of a tokenizer, beside; None where it is not at hand
    images: int
    run_flops: float
    options: list[Option]
    choice: Option | None
    images_per_s: float = 0.0
    days: float = 0.0
    gpu_hours: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def budget(cfg: PlanConfig) -> Budget:
    """All figures of a plan."""
    cfg = replace(cfg, model=settled(cfg.model))
    params, flops, coding = count_params(cfg.model), train_step_flops(cfg.model), _coding(cfg.model)
    images = cfg.steps * cfg.global_batch_size
    options = [_option(cfg, shard, mode) for shard in _shards(cfg) for mode in cfg.modes]
    fitting = [option for option in options if option.micro_batch_size]
    choice = min(fitting, key=lambda option: _rank(cfg, option), default=None)
    found = Budget(
        variant_of(cfg.model),
        {**params._asdict(), "total": params.total},
        flops, coding, images, images * (flops + (coding or 0.0)), options, choice,
    )  # fmt: skip
    if choice is None:
        return found
    seconds = cfg.steps * choice.step_s
    rates = {"images_per_s": cfg.global_batch_size / choice.step_s, "days": seconds / 86400}
    return Budget(**{**found.__dict__, **rates, "gpu_hours": seconds / 3600 * cfg.gpus})


def _coding(model: ModelConfig) -> float | None:
    known = model.target != "tokens" or model.tokenizer
    return target_flops(model) if known else None


def _rank(cfg: PlanConfig, option: Option) -> tuple[float, int, float]:
    """Smaller is better. The last: how near a limit is, 1 being there, of communication or of memory."""
    memory = option.memory.total / (cfg.usable * cfg.gpu.memory_gib * GIB)
    return option.step_s, MODES.index(option.recompute), max(option.communication_s / option.step_s, memory)


def _shards(cfg: PlanConfig) -> list[int]:
    """Not sharded, sharded within a machine, over all GPUs."""
    within = [cfg.gpus_per_node] if cfg.gpus % cfg.gpus_per_node == 0 else []
    return list(dict.fromkeys([1, *within, cfg.gpus]))


def _option(cfg: PlanConfig, shard: int, recompute: Recompute) -> Option:
    model, gpu, replicate = cfg.model, cfg.gpu, cfg.gpus // shard
    share = cfg.global_batch_size // cfg.gpus
    setting = Setting(width=2, shard=shard, recompute=recompute, averages=cfg.averages)
    micro = largest_micro_batch(model, setting, cfg.usable * gpu.memory_gib * GIB, most=share, share=share)
    micro_batches = -(-share // max(1, micro))
    params = count_params(model).total
    parts, copies = shard_group(shard, cfg.gpus_per_node), replica_group(replicate, shard, cfg.gpus_per_node)
    gathered = scattered = micro_batches * 4 * params * parts.sent_share
    reduced = 8 * params / shard * copies.sent_share
    blocks = sum(len(kind.units(model, work_of(model))) for kind in heads_of(model))
    units = model.shape.depth + blocks + 1  # gathered and reduced one by one
    again = recomputed_flops(model) if recompute == "full" else 0.0  # norms and GELU count for nothing
    work_s = (train_step_flops(model) + again) / gpu.tflops + (_coding(model) or 0.0) / gpu.float32_tflops
    return Option(
        replicate, shard, recompute, micro,
        memory=step_memory(model, replace(setting, several=max(1, micro) < share), max(1, micro)),
        gathered_bytes=gathered, scattered_bytes=scattered, reduced_bytes=reduced,
        communication_s=ring_s(gpu, parts, gathered + scattered, 3 * units * micro_batches)
        + all_reduce_s(gpu, copies, reduced, units),
        compute_s=share * work_s / (1e12 * cfg.mfu),
    )  # fmt: skip
