"""From labeled images to an adapted model: train, measure once on the test images, save adapter and merged weights."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from nextpatch.core.files import write_json
from nextpatch.core.output import check_folder
from nextpatch.core.progress import phase
from nextpatch.data.augment import Augment
from nextpatch.data.epochs import Epochs
from nextpatch.data.loader import eval_batches
from nextpatch.data.splits import Splits, Unlabeled, open_splits
from nextpatch.data.survey import refuse_other_channels
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.measure.finetune_summary import FinetuneSummary
from nextpatch.measure.metrics import TOP, Answers, likeliest
from nextpatch.model.count import count_params
from nextpatch.runs.logs import log_to
from nextpatch.runs.sinks.names import chosen
from nextpatch.tasks.finetune.adapted import Adapted
from nextpatch.tasks.finetune.begin import Inputs, begin, begun_before
from nextpatch.tasks.finetune.config import FinetuneConfig
from nextpatch.tasks.finetune.learner import Finetuning
from nextpatch.tasks.finetune.lora import save_adapter, trainable
from nextpatch.train.loop import Outcome, fit
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.finite import check_features_finite
from nextpatch.weights.inference import InferenceModel
from nextpatch.weights.load import load
from nextpatch.weights.snapshot import save_snapshot

RESULT, MODEL, ADAPTER = "finetune.json", "model", "adapter"
_EVALUATED = 256
_IMAGES, _LEAST_EPOCHS, _MOST_EPOCHS = 80_000, 8, 100
_LEAST_BATCH, _MOST_BATCH = 16, 512


@dataclass(frozen=True)
class Finetuned:
    """What came out: the answers on the test images, what they amount to, and the folder of the adapted weights."""

    answers: Answers
    summary: FinetuneSummary
    model: Path


class StoppedError(Exception):
    """A signal ended the fine-tuning early; all of it is saved. `outcome` says where."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(
            f"stopped after update {outcome.step} and saved; to continue, repeat the command with --resume"
        )
        self.outcome = outcome


def finetune(config: FinetuneConfig, console: Console | None = None, ranks: Ranks = ALONE) -> Finetuned:
    """Adapt the weights to the labels, in `config.out`; stopped, it goes on after the last update with `resume`.

    Leaves `model/` (merged weights with the classifier, as `--weights` takes them), `adapter/` (peft's format, unless
    all weights learned), `finetune.json` with every figure, and checkpoints. The test images are looked at once, at the
    end. Called by every rank of `ranks` alike, each of which holds the whole model; they share the images of a batch.
    Raises ConfigError, DataError or WeightsError for what cannot be used, StoppedError when a signal ended it early,
    BadStepError where the guard stops it, DivergedError where the weights are finite no more.
    """
    console, out = console or Console(quiet=not ranks.is_main), config.out
    with ranks.only_writer(out, "finetune"):
        with ranks.raise_on_all():
            chosen(config.sinks)
            before = begun_before(config) if ranks.is_main else None
        with ranks.main_first():
            splits, backbone = _opened(config, console)
            if ranks.is_main:
                check_folder(out, _bytes_of(config, backbone))
                begin(config, before, Inputs.of(config, splits, backbone))
        with log_to(out / "log.txt", console) if ranks.is_main else nullcontext():
            return _trained(config, backbone, splits, console, ranks)


def _opened(config: FinetuneConfig, console: Console) -> tuple[Splits, Backbone]:
    with phase("opening the images", console):
        splits = open_splits(config.data, config.test, config.seed, held_out=False, overlap=config.overlap)
    with phase("loading the weights", console):
        backbone = load(
            config.weights, layers=config.layers, img_size=config.img_size, pixel_range=config.pixel_range,
            layout=config.layout, attention="bidirectional",
        )  # fmt: skip
    for source in (splits.source, splits.test_source):
        refuse_other_channels(source, backbone.about.in_chans, backbone.about.preprocessing)
    return splits, backbone


def _bytes_of(config: FinetuneConfig, backbone: Backbone) -> int:
    """About what is written: the model, and up to three checkpoints of what learns with its two moments."""
    model = sum(p.numel() * p.element_size() for p in backbone.parameters())
    return model + 3 * 3 * (model if config.full else 0)


def _trained(config: FinetuneConfig, backbone: Backbone, splits: Splits, console: Console, ranks: Ranks) -> Finetuned:
    """The session itself: train, save, measure."""
    out = config.out
    with phase("setting up the model", console):
        learner = learner_of(config, backbone, splits, ranks)
    model, steps = learner.model, len(learner.stream)
    learned, of_trunk = trainable(model.trunk)[0], count_params(backbone.aim.cfg).trunk
    own = sum(p.numel() for p in model.classifier.parameters())
    console.print(
        f"training {learned:,} parameters of the trunk ({learned / of_trunk:.2%}) and {own:,} of the classifier; "
        f"{len(splits.pool):,} images, {len(splits.classes)} classes, {steps:,} updates",
        highlight=False,
    )
    outcome = fit(learner, learner.task(), console, ranks)
    if outcome.signal is not None:
        raise StoppedError(outcome)
    start_s = time.monotonic() - outcome.elapsed_s
    if model.peft is not None and ranks.is_main:
        save_adapter(model.peft, out / ADAPTER, config.weights)
    result = model.result()
    if ranks.is_main:
        save_snapshot(result, out / MODEL)
    with phase("classifying the test images", console):
        answers = _answers(config, result, splits, ranks)
    summary = FinetuneSummary(
        weights=str(config.weights), data=config.data, test=config.test, full=config.full, rank=config.rank,
        learned_of_trunk=learned, trunk=of_trunk, classes=tuple(splits.classes), seed=config.seed,
        labels=len(splits.pool), num_test=len(answers.labels), num_test_in_training=splits.shared,
        overlap=config.overlap, steps=steps, elapsed_s=round(time.monotonic() - start_s, 1), **answers.figures(),
    )  # fmt: skip
    if ranks.is_main:
        write_json(out / RESULT, summary.to_dict())
    return Finetuned(answers, summary, out / MODEL)


def learner_of(config: FinetuneConfig, backbone: Backbone, splits: Splits, ranks: Ranks = ALONE) -> Finetuning:
    """The model at its start, and this rank's share of its images."""
    pool, about = splits.pool, backbone.about
    images = len(pool)
    size = min(images, config.batch_size or max(_LEAST_BATCH, min(_MOST_BATCH, images // 100)))
    size -= size % 2 if config.mixup and size > 1 else 0  # mixup pairs images
    epochs = config.epochs or max(_LEAST_EPOCHS, min(_MOST_EPOCHS, _IMAGES // images))
    labels = dict(zip(pool.tolist(), splits.labels(pool).tolist(), strict=True))
    view = Augment(about.img_size, colors=config.augment)
    stream = Epochs(
        splits.source, pool, labels, size, epochs, config.seed, view, about.in_chans, config.workers, ranks.rank,
        ranks.size, preprocessing=about.preprocessing, paired=True,
    )  # fmt: skip
    return Finetuning(Adapted(backbone, config, splits.classes, ranks), stream, config, ranks)


def _answers(config: FinetuneConfig, result: Backbone, splits: Splits, ranks: Ranks) -> Answers:
    """On the test images, which the ranks share; their labels are opened when all answers are there."""
    inference, about = InferenceModel.of(result, config.device, "fp32"), result.about
    top = min(TOP, len(splits.classes))
    found, which = [torch.empty(0, top, dtype=torch.int64)], [torch.empty(0, dtype=torch.int64)]
    unlabeled, own = Unlabeled(splits.test_source), splits.test[ranks.rank :: ranks.size]
    for batch in eval_batches(
        unlabeled, own, about.img_size, about.in_chans, _EVALUATED, config.workers, None, about.preprocessing
    ):
        logits = inference.logits(batch.images)
        check_features_finite({"the classifier's scores": logits}, batch.keys, about.name)
        found.append(likeliest(logits, top).cpu())
        which.append(batch.positions)
    places = ranks.gathered(torch.cat(which)).numpy()
    order = np.argsort(places, kind="stable") if ranks.size > 1 else slice(None)
    labels = splits.open_test_labels(places[order])
    known = labels >= 0
    return Answers(ranks.gathered(torch.cat(found)).numpy()[order][known], labels[known])
