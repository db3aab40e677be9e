"""A model card made from what a run knows of itself: nothing is claimed that was not measured."""

from __future__ import annotations

from pathlib import Path

from nextpatch.data.collection import relative
from nextpatch.measure.probe_result import ProbeResult
from nextpatch.measure.run_summary import RunSummary
from nextpatch.model.config import ModelConfig
from nextpatch.model.count import count_params
from nextpatch.model.variant import variant_of
from nextpatch.objective.registry import objective_of
from nextpatch.runs.results import read_history, read_probe
from nextpatch.runs.run import RunDir
from nextpatch.tokenizer.tokenizer import FILE
from nextpatch.weights.backbone import Backbone

_NAMED = 20  # classes, at most
_TOP = """\
---
license: {license}
library_name: nextpatch
pipeline_tag: {task}
tags: [aim, {tags}]
---

# {name}

{kind} (AIM, arXiv 2401.08541): {width} wide, {depth} blocks, {params} parameters in the trunk,
images of {size} px in patches of {patch}, {chans} channels.

```python
import nextpatch

model = nextpatch.load("{repo}")
vectors = model.embed(["a.jpg", "b.jpg"])   # paths, Pillow images, arrays, or a DataLoader -> "images values"
views = model.transform(["a.jpg", "b.jpg"])  # uint8 "batch channels height width", what the model sees
patches = model.read(model.inputs(views))    # "batch patches dim"
```

Features are the mean of blocks {layers}, without the final norm, with {attention} attention.
Images are {view}. {classes}
{pixel_head}
"""


_KINDS = {
    False: ("An autoregressive image model", "autoregressive-image-model, next-patch-prediction"),
    True: ("A masked image model, the baseline of Table 5 of the paper", "masked-image-model"),
}  # by whether the objective is masked: what the model is, and tags for the Hub


def card(
    backbone: Backbone, repo: str, run: Path | None, license: str = "other", step: int | None = None, raw: bool = False
) -> str:
    """README.md for the Hub: what the model is, how it is used and, of a run, how it learned and what was measured."""
    cfg, about = backbone.aim.cfg, backbone.about
    classified = backbone.classifier is not None
    predicts = backbone.aim.head.predicts
    kind, tags = _KINDS[cfg.objective == "masked"]
    text = _TOP.format(
        license=license, repo=repo, kind=kind, tags=tags, name=repo.rpartition("/")[2],
        task="image-classification" if classified else "image-feature-extraction",
        width=cfg.shape.embed_dim, depth=cfg.shape.depth, params=f"{count_params(cfg).trunk:,}",
        size=" x ".join(map(str, cfg.img_size)), patch=cfg.patch_size, chans=cfg.in_chans,
        view=about.preprocessing.view(about.img_size), attention=about.attention,
        layers=", ".join(layer.removeprefix("block_") for layer in about.layers),
        classes=f"The attentive classifier knows {len(backbone.classes):,} classes." if classified else
        "It has no classifier.",
        pixel_head=_head_words(cfg) if predicts else "It has no pixel head: it gives features and predicts no patches.",
    )  # fmt: skip
    return text + (_of_run(run, step, raw) if run is not None and RunDir.exists(run) else "")


def _head_words(cfg: ModelConfig) -> str:
    if cfg.is_distribution:
        return f"The head ({cfg.head}), in a file of its own, is a distribution over the next patch."
    if cfg.target != "tokens":
        return "The pixel head, in a file of its own, predicts patches."
    here = Path(cfg.tokenizer).is_file() if cfg.tokenizer else False
    place = f"in `{FILE}`" if here else f"which is not here (SHA-256 {cfg.tokenizer_sha256})"
    return (
        f"The head, in a file of its own, predicts of each patch which of {cfg.codes:,} codes it has, by the tokenizer "
        f"{place}."
    )


def _of_run(path: Path, step: int | None, raw: bool) -> str:
    """Up to `step` (none: the newest checkpoint's); figures of another step are not claimed."""
    run = RunDir.open(path)
    at = run.checkpoint(step).step
    summary = RunSummary.of(path.name, run.recipe.train.steps, read_history(run).until(at))
    lines = ["\n## How it learned\n", f"- data: {', '.join(map(relative, run.recipe.data.train))}"]
    if summary.images is not None:
        lines.append(f"- {summary.step:,} steps of {run.recipe.train.global_batch_size:,} ({summary.images:,} images)")
    if summary.val_loss is not None:
        unit = objective_of(run.recipe.model).unit
        of = "" if run.recipe.model.is_distribution else f" of {run.recipe.model.target}"
        lines.append(f"- loss on held-out images: {summary.val_loss:.4f} (mean {unit}{of})")
    lines.append(f"- objective: {variant_of(run.recipe.model)}")
    if run.recipe.model.target == "tokens":
        lines.append(f"- SHA-256 of the tokenizer: {run.recipe.model.tokenizer_sha256[:12]}...")
    if classes := run.recipe.data.classes:
        more = " ..." if len(classes) > _NAMED else ""
        lines.append(f"- {len(classes):,} classes that it was told of: {', '.join(classes[:_NAMED])}{more}")
    if run.recipe.train.ema_half_life:
        lines.append(_averages(run, summary, raw))
    if run.recipe.train.init:
        lines.append(f"- it began with the weights of {relative(run.recipe.train.init)}")
    if (path / "probe.json").exists():
        probe = read_probe(path / "probe.json", "probe the run again, or remove the file")
        if probe.checkpoint_step == at and not raw:
            lines += ["\n## What was measured\n", *_measured(probe)]
    return "\n".join(lines) + "\n"


def _averages(run: RunDir, summary: RunSummary, raw: bool) -> str:
    which = "these are the weights of the last step, not their average" if raw else "these are averaged weights"
    loss = "" if summary.ema_loss is None else f"; loss of the average on held-out images: {summary.ema_loss:.4f}"
    return f"- {which}, half-life {run.recipe.train.ema_half_life:,.0f} images{loss}"


def _measured(probe: ProbeResult) -> list[str]:
    """Every probe of the most labels, the untrained network and raw pixels beside it."""
    most = probe.most_labels
    lines = [
        f"Test accuracy in % on {probe.num_test:,} images of {probe.test}, {most:,} labels, 95 % interval:\n",
        "| features | probe | top-1 | interval |", "|---|---|---|---|",
    ]  # fmt: skip
    for row in probe.results:
        if row.labels == most:
            low, high = row.test_ci95
            lines.append(f"| {row.features} | {row.probe} | {row.test_top1:.1f} | {low:.1f} to {high:.1f} |")
    return lines
