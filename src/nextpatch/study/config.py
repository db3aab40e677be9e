"""What a study file says: a base recipe, variants of it, what is measured of each, and the claims (no torch here)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nextpatch.core.errors import ConfigError
from nextpatch.core.text import did_you_mean, shown
from nextpatch.measure.study_result import FINETUNE, VAL_LOSS

DRAWINGS = ("val_curve", "probe_curve", "loss_over_flops", "chunks", "rows", "layers")  # that a page can show
Values = dict[str, Any]  # nested plain values, as TOML has them


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of the study's table: values over the base, and how it is measured where that differs.

    `values` are tables of a recipe ({"model": {"order": "spiral"}}); `tokenizer` names one of the study's; `probe` and
    `finetune` lie over the study's own. Variants that differ only in these two share a run.
    """

    name: str
    about: str = ""
    """What it is, in words, for tables and pages (default: its name)."""
    values: Values = field(default_factory=dict)
    tokenizer: str = ""
    """Name of the study's tokenizer whose codes are its target."""
    probe: Values = field(default_factory=dict)
    finetune: Values = field(default_factory=dict)
    paper: dict[str, float] = field(default_factory=dict)
    """The paper's figures, by metric."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the paper says: `better` is better than `than`, or each variant of `trend` is better than the one before.

    Losses are better when they are lower, accuracies when they are higher.
    """

    better: str = ""
    than: str = ""
    trend: tuple[str, ...] = ()
    by: tuple[str, ...]
    """Metrics to compare by, each for itself: val_loss, finetune, or a kind of probe such as attentive."""
    than_by: str = ""
    """Metric of `than`, where it is another one than that of `better`."""
    where: str = ""
    """Table or figure and row of the paper."""
    says: str = ""
    """The claim in words (default: from the names of the variants)."""

    def __post_init__(self) -> None:
        pair = bool(self.better and self.than)
        if pair == bool(self.trend) or bool(self.better) != bool(self.than):
            raise ConfigError("a claim needs either both better and than, or trend")
        if self.trend and (len(self.trend) < 3 or len({*self.trend}) < len(self.trend)):
            raise ConfigError("a trend needs three or more variants, none twice; two are a pair: better and than")
        if self.better and self.better == self.than and not self.than_by:
            raise ConfigError(f"'{shown(self.better)}' cannot be better than itself")
        if self.trend and self.than_by:
            raise ConfigError("than_by is of a pair, not of a trend")
        if not self.by:
            raise ConfigError("a claim needs by: val_loss, finetune or a kind of probe")

    @property
    def variants(self) -> tuple[str, ...]:
        """Those that it is about; of a pair the better one comes last, as in a trend."""
        return self.trend or (self.than, self.better)


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """A study, whole and checked in itself; whether its recipes can be trained is for planning to find out.

    `recipe` are the values that all variants lie over. `probe` and `finetune` are values of these tasks' configs; an
    empty one is not done. `checkpoints` are steps at which the probe is made as well.
    """

    title: str
    asks: str = ""
    """The question, in words."""
    source: str = ""
    """Table or figure of the paper."""
    notes: tuple[str, ...] = ()
    """What a reader must know, such as what this size is not."""
    seeds: tuple[int, ...] = (0, 1, 2)
    recipe: Values = field(default_factory=dict)
    tokenizers: dict[str, Values] = field(default_factory=dict)
    probe: Values = field(default_factory=dict)
    finetune: Values = field(default_factory=dict)
    checkpoints: tuple[int, ...] = ()
    equal: str = ""
    """Why the variants do not see the same images for the same number of steps, where they do not."""
    variants: tuple[Variant, ...]
    claims: tuple[Claim, ...] = ()
    drawings: tuple[str, ...] = ()
    """What the page shows beside the table: val_curve, probe_curve, loss_over_flops, chunks, rows, layers."""

    def __post_init__(self) -> None:
        if not self.variants:
            raise ConfigError("a study needs variants: [variants.NAME] with values over the base")
        if not self.seeds or len({*self.seeds}) < len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(f"seeds {list(self.seeds)} must be different whole numbers from 0 on, at least one")
        for name in self.drawings:
            if name not in DRAWINGS:
                raise ConfigError(f"no drawing '{shown(name)}'{did_you_mean(name, DRAWINGS)}; {', '.join(DRAWINGS)}")

    def variant(self, name: str) -> Variant:
        """The variant of that name; ConfigError with the nearest name when there is none."""
        names = {variant.name: variant for variant in self.variants}
        if name not in names:
            raise ConfigError(f"no variant '{shown(name)}'{did_you_mean(name, names)}; there are {', '.join(names)}")
        return names[name]

    def probe_of(self, variant: Variant) -> Values:
        """Values of the probe that a variant is measured with; {} of none."""
        return {**self.probe, **variant.probe}

    def finetune_of(self, variant: Variant) -> Values:
        """Values of the fine-tuning that a variant is measured with; {} of none."""
        return {**self.finetune, **variant.finetune}

    def metrics_of(self, variant: Variant) -> tuple[str, ...]:
        """What is measured of a variant: the loss, every kind of probe, fine-tuning."""
        probe, tuned = self.probe_of(variant), self.finetune_of(variant)
        kinds = tuple(probe.get("probes", ("attentive", "linear", "knn"))) if probe else ()
        return (VAL_LOSS, *kinds, *((FINETUNE,) if tuned else ()))

    @property
    def metrics(self) -> tuple[str, ...]:
        """All that is measured of any variant."""
        return tuple(dict.fromkeys(name for variant in self.variants for name in self.metrics_of(variant)))
