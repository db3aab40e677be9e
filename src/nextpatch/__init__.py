"""Next-patch prediction for images: pre-train, measure and use autoregressive image models (AIM, arXiv 2401.08541)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nextpatch.api.check import check as check
    from nextpatch.api.classify import classify as classify
    from nextpatch.api.density import compress as compress
    from nextpatch.api.density import decompress as decompress
    from nextpatch.api.density import density as density
    from nextpatch.api.embed import embed as embed
    from nextpatch.api.evaluate import evaluate_samples as evaluate_samples
    from nextpatch.api.finetune import FinetuneResult as FinetuneResult
    from nextpatch.api.finetune import finetune as finetune
    from nextpatch.api.generate import complete as complete
    from nextpatch.api.generate import inpaint as inpaint
    from nextpatch.api.generate import sample as sample
    from nextpatch.api.generate import upscale as upscale
    from nextpatch.api.images import dataset as dataset
    from nextpatch.api.law import fit_law as fit_law
    from nextpatch.api.law import read_law as read_law
    from nextpatch.api.pretrain import PretrainResult as PretrainResult
    from nextpatch.api.pretrain import pretrain as pretrain
    from nextpatch.api.probe import probe as probe
    from nextpatch.api.report import report as report
    from nextpatch.api.session import Stopped as Stopped
    from nextpatch.api.similar import similar as similar
    from nextpatch.api.study import run_study as run_study
    from nextpatch.api.tokenizer import fit_tokenizer as fit_tokenizer
    from nextpatch.api.tokenizer import load_tokenizer as load_tokenizer
    from nextpatch.measure.study_result import StudyResult as StudyResult
    from nextpatch.weights.backbone import Backbone as Backbone
    from nextpatch.weights.load import load as load

    __version__: str

_PLACES = {
    "Backbone": "nextpatch.weights.backbone",
    "FinetuneResult": "nextpatch.api.finetune",
    "PretrainResult": "nextpatch.api.pretrain",
    "Stopped": "nextpatch.api.session",
    "StudyResult": "nextpatch.measure.study_result",
    "check": "nextpatch.api.check",
    "classify": "nextpatch.api.classify",
    "complete": "nextpatch.api.generate",
    "compress": "nextpatch.api.density",
    "dataset": "nextpatch.api.images",
    "decompress": "nextpatch.api.density",
    "density": "nextpatch.api.density",
    "embed": "nextpatch.api.embed",
    "evaluate_samples": "nextpatch.api.evaluate",
    "finetune": "nextpatch.api.finetune",
    "fit_law": "nextpatch.api.law",
    "fit_tokenizer": "nextpatch.api.tokenizer",
    "inpaint": "nextpatch.api.generate",
    "load": "nextpatch.weights.load",
    "load_tokenizer": "nextpatch.api.tokenizer",
    "pretrain": "nextpatch.api.pretrain",
    "probe": "nextpatch.api.probe",
    "read_law": "nextpatch.api.law",
    "report": "nextpatch.api.report",
    "run_study": "nextpatch.api.study",
    "sample": "nextpatch.api.generate",
    "similar": "nextpatch.api.similar",
    "upscale": "nextpatch.api.generate",
}
__all__ = [
    "Backbone",
    "FinetuneResult",
    "PretrainResult",
    "Stopped",
    "StudyResult",
    "check",
    "classify",
    "complete",
    "compress",
    "dataset",
    "decompress",
    "density",
    "embed",
    "evaluate_samples",
    "finetune",
    "fit_law",
    "fit_tokenizer",
    "inpaint",
    "load",
    "load_tokenizer",
    "pretrain",
    "probe",
    "read_law",
    "report",
    "run_study",
    "sample",
    "similar",
    "upscale",
]


if not TYPE_CHECKING:  # or a name that is not there would be one of any type

    def __getattr__(name: str) -> Any:
        """What the package offers, imported when it is first used: `--help` must not wait for torch."""
        if name == "__version__":
            from importlib.metadata import version

            return version("nextpatch")
        if name not in _PLACES:
            told = f"module 'nextpatch' has no attribute '{name}'"
            raise AttributeError(told, name=name, obj=sys.modules[__name__])  # from which Python names the nearest
        from importlib import import_module

        return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    """What is offered, for completion, without importing it."""
    own = {"Any", "TYPE_CHECKING", "annotations", "sys", "_PLACES"}
    return sorted(({*globals()} - own) | {*__all__, "__version__"})
