"""A plan for a person: a few lines and two tables, readable at 80 columns."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from nextpatch.core.text import format_flops
from nextpatch.model.cache import KeyValueCache
from nextpatch.tasks.plan.budget import GIB, Budget, Option
from nextpatch.tasks.plan.config import PlanConfig

_SAMPLED = 16  # images, as on a CPU


def plan_text(cfg: PlanConfig, found: Budget) -> RenderableType:
    """The whole plan."""
    parts: list[RenderableType] = [Text(_needs(cfg, found)), _options(cfg, found)]
    if found.choice is None:
        most = cfg.gpu.memory_gib
        parts.append(Text(f"Nothing fits into {most:.0f} GiB: use more GPUs to shard over, or GPUs with more memory."))
    else:
        parts += [_memory(found.choice), Text(_costs(cfg, found))]
    return Group(*parts)


def show(cfg: PlanConfig, found: Budget, console: Console) -> None:
    """Print it."""
    console.print(plan_text(cfg, found), soft_wrap=not console.is_terminal, highlight=False)


def _needs(cfg: PlanConfig, found: Budget) -> str:
    p, model = found.params, cfg.model
    height, width = model.img_size
    return (
        f"model      {model.size}: {_millions(p['total'])} parameters "
        f"(trunk {_millions(p['trunk'])}, head {_millions(p['head'])})\n"
        f"images     {height} x {width} px in patches of {model.patch_size}: {model.num_patches} patches\n"
        f"variant    {found.variant}\n"
        f"operations {format_flops(found.flops_per_image)} an image, forward and backward\n"
        f"{_coding(cfg, found)}"
        f"{_sampling(cfg)}"
        f"run        {cfg.steps:,} steps x {cfg.global_batch_size:,} = {_count(found.images)} images, "
        f"{found.run_flops:.3g} FLOP\n"
    )


def _coding(cfg: PlanConfig, found: Budget) -> str:
    """What the tokenizer takes, or that nobody knows."""
    coding = found.target_flops_per_image
    if coding is None:
        return "codes      not counted: the tokenizer is not given; add --model.tokenizer FILE\n"
    if not coding:
        return ""
    share = coding / cfg.gpu.float32_tflops / (coding / cfg.gpu.float32_tflops + found.flops_per_image / cfg.gpu.tflops)
    return f"codes      {format_flops(coding)} an image in float32, {_percent(share)} of the time of computing\n"


def _sampling(cfg: PlanConfig) -> str:
    """What images that are sampled together take beside the weights, of a model that generates."""
    if not cfg.model.start_token:
        return ""
    size = KeyValueCache.num_bytes(cfg.model, _SAMPLED, cfg.model.num_patches)
    return f"sampling   {size / GIB:.2g} GiB of keys and values for {_SAMPLED} images at a time, twice that guided\n"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "less than 1%"


def _millions(number: int) -> str:
    return f"{number / 1e6:,.1f} M" if number >= 100_000 else f"{number:,}"


def _count(number: int) -> str:
    """In the largest word of which there is at least one."""
    for size, word in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:,}"


def _options(cfg: PlanConfig, found: Budget) -> Table:
    gpus = f"{cfg.gpus} GPUs" if cfg.gpus > 1 else "1 GPU"
    table = Table(title=f"{gpus}, {cfg.gpus_per_node} to a machine", title_justify="left", box=SIMPLE_HEAD)
    for name in ("mesh", "checkpointing", "images", "GiB", "comm s", "compute s", ""):
        number = name not in ("mesh", "checkpointing", "")
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for option in found.options:
        fits = option.micro_batch_size > 0
        table.add_row(
            f"{option.replicate} x {option.shard}", option.recompute, str(option.micro_batch_size) if fits else "-",
            f"{option.memory.total / GIB:.1f}", f"{option.communication_s:.3f}" if fits else "-",
            f"{option.compute_s:.3f}" if fits else "-",
            "<- best" if option is found.choice else "" if fits else "too large",
        )  # fmt: skip
    return table


def _memory(choice: Option) -> Table:
    table = Table(title="peak memory of one GPU during a step", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("part")
    table.add_column("GiB", justify="right")
    memory = choice.memory
    averages = [("averaged weights", memory.averages)] if memory.averages else []
    for name, size in (
        ("weights, float32", memory.weights), ("AdamW's moments", memory.optimizer), *averages,
        ("gradients", memory.gradients),
        (f"activations of {choice.micro_batch_size} images, checkpointing {choice.recompute}", memory.activations),
        ("gathered weights and temporary buffers", memory.passing), ("all", memory.total),
    ):  # fmt: skip
        table.add_row(name, f"{size / GIB:.2f}")
    return table


def _costs(cfg: PlanConfig, found: Budget) -> str:
    choice = found.choice
    assert choice is not None
    sent = ", ".join(
        f"{name} {size / 1e9:.2f} GB"
        for name, size in (
            ("all-gather", choice.gathered_bytes), ("reduce-scatter", choice.scattered_bytes),
            ("all-reduce", choice.reduced_bytes),
        )
        if size
    )  # fmt: skip
    bound = "communication" if choice.communication_s > choice.compute_s else "computing"
    return (
        f"a step     {choice.step_s:.3f} s, bound by {bound}; each GPU sends {sent or 'nothing'}\n"
        f"speed      {found.images_per_s:,.0f} images/s at {cfg.mfu:.0%} of the peak of {cfg.gpu.tflops:,.0f} TFLOP/s\n"
        f"the run    {found.days:,.1f} days, {found.gpu_hours:,.0f} GPU hours\n"
        f"command    torchrun ... -m nextpatch pretrain ... --engine.replicate {choice.replicate} "
        f"--engine.shard {choice.shard} --engine.activation-checkpointing {choice.recompute} "
        f"--train.micro-batch-size {choice.micro_batch_size}"
    )
