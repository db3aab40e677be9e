"""Where a fine-tuning starts or resumes: only with the same values, weights and images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nextpatch.core.errors import ConfigError, FileError
from nextpatch.core.files import write_json
from nextpatch.core.reading import read_json
from nextpatch.core.text import shown
from nextpatch.core.writer import is_new
from nextpatch.data.fingerprint import Fingerprint, changes, fingerprint_from, fingerprint_of
from nextpatch.data.splits import Splits
from nextpatch.tasks.finetune.config import FinetuneConfig
from nextpatch.weights.backbone import Backbone

CONFIG = "config.json"
_OF_THE_SESSION = ("resume", "workers", "device", "out", "micro_batch_size", "sinks")
_PLACES = ("weights", "data", "test")  # may be others, where the same is found in them
_INPUTS = "inputs"


@dataclass(frozen=True)
class Inputs:
    """What is behind the names that were given: the weights' digest, and both collections as they were."""

    weights_sha256: str
    train: Fingerprint
    test: Fingerprint | None

    @classmethod
    def of(cls, config: FinetuneConfig, splits: Splits, backbone: Backbone) -> Inputs:
        """As they are now; no test label is looked at."""
        test = fingerprint_of(splits.test_source, labels=False) if config.test else None
        return cls(backbone.digest(), fingerprint_of(splits.source), test)

    @classmethod
    def read(cls, values: dict[str, Any]) -> Inputs:
        """As they were written down; FileError when they are not whole."""
        train, test = values.get("train"), values.get("test")
        if not isinstance(train, dict) or not isinstance(values.get("weights_sha256"), str):
            raise FileError("its inputs are not whole")
        return cls(values["weights_sha256"], fingerprint_from(train), fingerprint_from(test) if test else None)


def begun_before(config: FinetuneConfig) -> dict[str, Any] | None:
    """What was begun at `config.out`, or None; ConfigError when it is other work, or was not to be gone on with."""
    path = config.out / CONFIG
    if not path.exists():
        if not is_new(config.out):
            raise ConfigError(f"{shown(config.out)} is not empty; choose another --out")
        return None
    if not config.resume:
        advice = "add --resume to continue it, or choose another --out"
        raise ConfigError(f"{shown(config.out)} holds a fine-tuning that was started before; {advice}")
    before = read_json(path, "the values of a fine-tuning", "start again with another --out")
    known, values = (_PLACES if _INPUTS in before else ()), _plain(config)
    if other := sorted(name for name in values if name not in known and before.get(name) != values[name]):
        raise ConfigError(
            f"{shown(config.out)} was started with {', '.join(f'{name} {before.get(name)}' for name in other)}; resume "
            "with the same values, or start again with another --out"
        )
    return before


def begin(config: FinetuneConfig, before: dict[str, Any] | None, now: Inputs) -> None:
    """Write down what is begun; or refuse to go on from other weights, or on other images, than `before`."""
    path = config.out / CONFIG
    if before is None:
        write_json(path, {**_plain(config), _INPUTS: asdict(now)})
    elif _INPUTS in before:
        _refuse_changed(config, _read(path, before), now)


def _refuse_changed(config: FinetuneConfig, then: Inputs, now: Inputs) -> None:
    remedy = f"restore what it was, or start again with another --out than {shown(config.out)}"
    if then.weights_sha256 != now.weights_sha256:
        raise ConfigError(
            f"{shown(config.weights)} are not the weights that this was started with (their SHA-256 differs); {remedy}"
        )
    if (then.test is None) != (now.test is None):
        raise ConfigError(f"this was started {'with' if then.test else 'without'} --test; {remedy}")
    for place, one, other in ((config.data, then.train, now.train), (config.test, then.test, now.test)):
        if one and other and (different := changes(one, other, times=False)):
            raise ConfigError(
                f"{shown(place)} does not hold the images that this was started with (other: {different}); {remedy}"
            )


def _read(path: Path, before: dict[str, Any]) -> Inputs:
    try:
        return Inputs.read(before[_INPUTS])
    except (FileError, TypeError, AttributeError):
        raise ConfigError(f"{shown(path)} is damaged; start again with another --out") from None


def _plain(config: FinetuneConfig) -> dict[str, Any]:
    values = asdict(config)
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {name: value for name, value in plain.items() if name not in _OF_THE_SESSION}
