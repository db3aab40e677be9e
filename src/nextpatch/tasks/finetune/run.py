"""From labeled images to an adapted model: train, measure once on the test images, save adapter and merged weights."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from nextpatch.core.files import write_json
from nextpatch.core.output import check_folder
from nextpatch.core.progress import Meter, phase
from nextpatch.core.writer import only_writer
from nextpatch.data.augment import Augment
from nextpatch.data.epochs import Epochs
from nextpatch.data.loader import eval_batches
from nextpatch.data.splits import Splits, Unlabeled, open_splits
from nextpatch.data.survey import refuse_other_channels
from nextpatch.measure.metrics import TOP, Answers, likeliest
from nextpatch.model.count import count_params
from nextpatch.runs.checkpoint import newest_checkpoint, prune, save_checkpoint
from nextpatch.runs.logs import Logs, log_to, truncate_metrics
from nextpatch.runs.sinks.registry import chosen
from nextpatch.tasks.finetune.begin import Inputs, begin, begun_before
from nextpatch.tasks.finetune.config import FinetuneConfig
from nextpatch.tasks.finetune.learner import Learner
from nextpatch.tasks.finetune.lora import save_adapter, trainable
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.finite import need_finite
from nextpatch.weights.inference import InferenceModel
from nextpatch.weights.load import load
from nextpatch.weights.snapshot import save_snapshot

RESULT, MODEL, ADAPTER = "finetune.json", "model", "adapter"
_EVALUATED = 256
_IMAGES, _LEAST_EPOCHS, _MOST_EPOCHS = 80_000, 8, 100
_LEAST_BATCH, _MOST_BATCH = 16, 512


@dataclass(frozen=True)
class Finetuned:
    """What came out: the answers on the test images, and how many values learned, of how many of the trunk."""

    answers: Answers
    learned: int
    of_trunk: int
    model: Path


def finetune(config: FinetuneConfig, console: Console | None = None) -> Finetuned:
    """Adapt the weights to the labels, in `config.out`; stopped, it goes on after the last epoch with `resume`.

    Leaves `model/` (merged weights with the classifier, as `--weights` takes them), `adapter/` (peft's format, unless
    all weights learned), `finetune.json` with every figure, and checkpoints. The test images are looked at once, at the
    end. Raises ConfigError, DataError or WeightsError for what cannot be used.
    """
    console, out = console or Console(), config.out
    with only_writer(out, "finetune"):
        before = begun_before(config)
        chosen(config.sinks)
        with phase("opening the images", console):
            splits = open_splits(config.data, config.test, config.seed, held_out=False, overlap=config.overlap)
        with phase("loading the weights", console):
            backbone = load(
                config.weights, layers=config.layers, img_size=config.img_size, pixel_range=config.pixel_range,
                layout=config.layout,
            )  # fmt: skip
        for source in (splits.source, splits.test_source):
            refuse_other_channels(source, backbone.about.in_chans, backbone.about.preprocessing)
        check_folder(out, _bytes_of(config, backbone))
        begin(config, before, Inputs.of(config, splits, backbone))
        with log_to(out / "log.txt", console):
            return _trained(config, backbone, splits, console)


def _bytes_of(config: FinetuneConfig, backbone: Backbone) -> int:
    """About what is written: the model, and up to three checkpoints of what learns with its two moments."""
    model = sum(p.numel() * p.element_size() for p in backbone.parameters())
    return model + 3 * 3 * (model if config.full else 0)


def _trained(config: FinetuneConfig, backbone: Backbone, splits: Splits, console: Console) -> Finetuned:
    """The session itself: train, save, measure."""
    out = config.out
    with phase("setting up the model", console):
        learner, stream = _learner(config, backbone, splits)
    learned, of_trunk = trainable(learner.trunk)[0], count_params(backbone.aim.cfg).trunk
    own = sum(p.numel() for p in learner.classifier.parameters())
    console.print(
        f"{learned:,} values of the trunk learn ({learned / of_trunk:.2%}), and {own:,} of the classifier; "
        f"{len(splits.pool):,} images, {len(splits.classes)} classes, {learner.steps:,} updates",
        highlight=False,
    )
    start_s = time.monotonic() - learner.elapsed_s
    _train(config, learner, stream, console, start_s)
    if learner.peft is not None:
        save_adapter(learner.peft, out / ADAPTER, config.weights)
    result = learner.result()
    save_snapshot(result, out / MODEL)
    with phase("classifying the test images", console):
        answers = _answers(config, result, splits)
    facts = {
        "weights": config.weights, "data": config.data, "test": config.test, "full": config.full, "rank": config.rank,
        "learned_of_trunk": learned, "trunk": of_trunk, "classes": list(splits.classes), "seed": config.seed,
        "labels": len(splits.pool), "num_test": len(answers.labels), "num_test_in_training": splits.shared,
        "overlap": config.overlap, "steps": learner.steps,
        "elapsed_s": round(time.monotonic() - start_s, 1), "test_top1": round(answers.top1, 3),
        "test_ci95": [round(bound, 3) for bound in answers.ci95], "test_top5": round(answers.top5, 3),
        "test_macro_f1": round(answers.macro_f1, 3), "test_per_class": answers.per_class,
    }  # fmt: skip
    write_json(out / RESULT, facts)
    return Finetuned(answers, learned, of_trunk, out / MODEL)


def _learner(config: FinetuneConfig, backbone: Backbone, splits: Splits) -> tuple[Learner, Epochs]:
    """The learner where it stands, and the images that come next."""
    pool, about = splits.pool, backbone.about
    images = len(pool)
    size = min(images, config.batch_size or max(_LEAST_BATCH, min(_MOST_BATCH, images // 100)))
    size -= size % 2 if config.mixup and size > 1 else 0  # mixup pairs images
    epochs = config.epochs or max(_LEAST_EPOCHS, min(_MOST_EPOCHS, _IMAGES // images))
    labels = dict(zip(pool.tolist(), splits.labels(pool).tolist(), strict=True))
    per_epoch = images // size
    learner = Learner(backbone, config, splits.classes, epochs * per_epoch, per_epoch)
    checkpoint = newest_checkpoint(config.out / "checkpoints", mend=True)
    if checkpoint is not None:
        learner.restore(checkpoint)
    view = Augment(about.img_size, colors=config.augment)
    stream = Epochs(
        splits.source, pool, labels, size, epochs, config.seed, view, about.in_chans, config.workers,
        start=learner.step, preprocessing=about.preprocessing,
    )  # fmt: skip
    return learner, stream


def _train(config: FinetuneConfig, learner: Learner, stream: Epochs, console: Console, start_s: float) -> None:
    """Every update that is left, with a checkpoint after each epoch; `start_s`: of all sessions together."""
    folder, about = config.out / "checkpoints", learner.about
    truncate_metrics(config.out / "metrics.jsonl", learner.step)
    losses: list[float] = []
    with (
        Meter("updates", learner.steps, "updates", learner.step, console) as meter,
        Logs(config.out, learner.step, (stream.bad,), sinks=config.sinks, values=asdict(config)) as logs,
    ):
        for batch in stream:
            normalized = Backbone.normalized(batch.images, about, learner.device)
            losses.append(learner.update(normalized, batch.labels))
            meter(learner.step, learner.steps)
            if learner.step % learner.per_epoch == 0 or learner.step == learner.steps:
                learner.check_weights()
                epoch = learner.step // learner.per_epoch
                loss = sum(losses) / len(losses)
                logs.metric("train", learner.step, epoch=epoch, loss=loss)
                losses.clear()
                beside = {"step": learner.step, "elapsed_s": time.monotonic() - start_s}
                logs.sync()
                save_checkpoint(folder, learner.step, learner.state(), beside)
                prune(folder, 2, 0)


def _answers(config: FinetuneConfig, result: Backbone, splits: Splits) -> Answers:
    """On the test images, whose labels are opened when all answers are there."""
    running, about = InferenceModel.of(result, config.device, "fp32"), result.about
    top = min(TOP, len(splits.classes))
    found, which = [], []
    unlabeled = Unlabeled(splits.test_source)
    for batch in eval_batches(
        unlabeled, splits.test, about.img_size, about.in_chans, _EVALUATED, config.workers, None, about.preprocessing
    ):
        logits = running.logits(batch.images)
        need_finite({"the classifier's scores": logits}, batch.keys, about.name)
        found.append(likeliest(logits, top).cpu())
        which.append(batch.positions.numpy())
    labels = splits.open_test_labels(np.concatenate(which))
    known = labels >= 0
    return Answers(torch.cat(found).numpy()[known], labels[known])
