"""The kinds of probes by name: where each is made, and which values it reads (no torch here: `--help` reads this).

A new kind is a file that makes an `Evaluator`, and a line here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nextpatch.core.errors import ConfigError
from nextpatch.core.text import did_you_mean, shown


@dataclass(frozen=True)
class ProbeKind:
    """`evaluator`: "module:NAME", imported where probes are fitted. `reads`: values of `ProbeConfig` for it and some
    others alone. `on_vectors`: the kind in its place where features are one vector an image; "": itself."""

    evaluator: str
    reads: tuple[str, ...] = ()
    on_vectors: str = ""


_OF_TRAINING = ("lrs", "epochs", "batch_size", "weight_decay", "clip_norm", "min_lr", "warmup")
PROBE_KINDS: dict[str, ProbeKind] = {  # in the order of the rows of a table
    "attentive": ProbeKind("nextpatch.tasks.probe.attentive:ATTENTIVE", (*_OF_TRAINING, "heads"), on_vectors="linear"),
    "linear": ProbeKind("nextpatch.tasks.probe.linear:LINEAR", (*_OF_TRAINING, "pooling")),
    "knn": ProbeKind("nextpatch.tasks.probe.neighbors:KNN", ("neighbors", "pooling")),
    "logistic": ProbeKind("nextpatch.tasks.probe.logistic:LOGISTIC", ("pooling",)),
}


def need_known(probes: Iterable[str]) -> None:
    """ConfigError for a name that is no kind of probe."""
    for name in probes:
        if name not in PROBE_KINDS:
            raise ConfigError(
                f"no probe {shown(name)}{did_you_mean(name, PROBE_KINDS)}; there are {', '.join(PROBE_KINDS)}"
            )


def unread_values(probes: Iterable[str]) -> list[str]:
    """Values of `ProbeConfig` that some kinds read, but none of `probes`."""
    read = {value for name in probes for value in PROBE_KINDS[name].reads}
    known = dict.fromkeys(value for kind in PROBE_KINDS.values() for value in kind.reads)
    return [value for value in known if value not in read]


def kinds_on(probes: Iterable[str], patches: bool) -> list[str]:
    """The kinds to measure on features of several patches, or of one vector an image, in the order of the table."""
    wanted = {name if patches else PROBE_KINDS[name].on_vectors or name for name in probes}
    return [name for name in PROBE_KINDS if name in wanted]
