"""The command `nextpatch`: finds the verb, reads its flags, and says plainly what the user can mend."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from nextpatch.cli import (
    bench,
    check,
    classify,
    data,
    density,
    embed,
    evaluate,
    export,
    finetune,
    fit_head,
    generate,
    law,
    plan,
    pretrain,
    probe,
    report,
    study,
    tokenizer,
)
from nextpatch.cli.failure import Failure
from nextpatch.cli.verb import Group, Output, Verb, listed, start
from nextpatch.core.errors import UserError
from nextpatch.core.interrupt import interrupted
from nextpatch.core.text import ShownRecord, shown

VERBS: dict[str, Verb | Group] = {
    "pretrain": Verb("learn from images by predicting the next patch", pretrain.Pretrain, pretrain.run, ranks=True),
    "probe": Verb(
        "measure frozen features with labels", probe.Probe, probe.run, ranks=True, needs=("tasks.probe.run",)
    ),
    "bench": Verb(
        "measure weights on the paper's 15 benchmarks", bench.Bench, bench.run, ranks=True, needs=("bench.run",)
    ),
    "study": Verb("compare variants of a recipe over several seeds", study.Study, study.run, needs=("study.run",)),
    "law": Group("fit scaling laws to the runs of a study", law.VERBS),
    "finetune": Verb(
        "fine-tune weights on labeled images (LoRA or full)",
        finetune.Finetune,
        finetune.run,
        ranks=True,
        needs=("tasks.finetune.run",),
    ),
    "classify": Verb("name the classes of images", classify.Classify, classify.run, needs=("tasks.embed.classify",)),
    "embed": Verb(
        "write the features of images to a file",
        embed.Embed,
        embed.run_embed,
        ranks=True,
        needs=("tasks.embed.run",),
    ),
    "similar": Verb(
        "find the most similar images in an index made by embed",
        embed.Similar,
        embed.run_similar,
        embed.picture,
        needs=("tasks.embed.similar",),
    ),
    "sample": Verb(
        "make images with weights that learned to generate",
        generate.SampleImages,
        generate.run,
        generate.outputs,
        needs=("tasks.generate.run",),
    ),
    "complete": Verb(
        "keep the upper part of an image and make the rest",
        generate.CompleteImage,
        generate.run,
        generate.outputs,
        needs=("tasks.generate.run",),
    ),
    "inpaint": Verb(
        "fill the holes of an image",
        generate.InpaintImage,
        generate.run,
        generate.outputs,
        needs=("tasks.generate.run",),
    ),
    "upscale": Verb(
        "enlarge an image with weights that learned it",
        generate.UpscaleImage,
        generate.run,
        generate.outputs,
        needs=("tasks.generate.run",),
    ),
    "evaluate-samples": Verb(
        "measure generated images against real ones",
        evaluate.EvaluateSamples,
        evaluate.run,
        lambda args: [Output(args.config.out)],
        needs=("tasks.evaluate.run",),
    ),
    "density": Verb(
        "rank images by how strange a model finds them",
        density.Density,
        density.run_density,
        density.lists,
        needs=("tasks.density.rank",),
    ),
    "compress": Verb(
        "compress small images without loss",
        density.Compress,
        density.run_compress,
        density.archives,
        needs=("tasks.density.compress",),
    ),
    "decompress": Verb(
        "restore compressed images",
        density.Decompress,
        density.run_decompress,
        density.folders,
        needs=("tasks.density.compress",),
    ),
    "fit-head": Verb("fit a pixel head to weights that have none", fit_head.FitHead, fit_head.run, ranks=True),
    "report": Verb("write a page about a run", report.Report, report.run, needs=("tasks.report.build",)),
    "data": Group("inspect and prepare images before training", data.VERBS),
    "tokenizer": Group("fit and use codes of patches, for targets that are classes", tokenizer.VERBS),
    "plan": Verb("estimate the memory, time and cost of a run", plan.Plan, plan.run),
    "export": Verb(
        "export weights to a file, for timm or to the Hub",
        export.Export,
        export.run,
        export.writes,
        needs=("weights.load",),
    ),
    "check": Verb(
        "prove that no prediction sees the patch it predicts",
        check.Check,
        check.run,
        needs=("tasks.check.verdict",),
    ),
}

_HELP = """\
usage: nextpatch [--debug] VERB ...

Next-patch prediction for images.

{verbs}

  nextpatch VERB --help   show the flags of a verb
  --version               print the version
  --debug                 show the traceback of an error
"""

_OURS = "This is a mistake in nextpatch, not in what you gave it: please report it with the lines above."
_REMEDIES = (
    ((errno.ENOSPC, errno.EFBIG, errno.EDQUOT), "free some space or raise the limit, or choose another place"),
    ((errno.EISDIR, errno.ENOTDIR, errno.EEXIST), "move away what is there, or choose another place"),
    ((errno.EACCES, errno.EPERM, errno.EROFS), "get the permission to read and write it, or choose another place"),
)
_MEMORY_FULL = ("OutOfMemoryError", "can't allocate memory", "not enough memory", "Cannot allocate memory")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code: 0, 1 a check that failed, 2 an error, 128 + a signal."""
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # torch is not loaded yet; its idle threads else burn a core
    logging.setLogRecordFactory(ShownRecord)
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_HELP.format(verbs=listed(VERBS)), end="")
        return 0 if words else 2
    if words[0] == "--version":
        print(f"nextpatch {version('nextpatch')}")
        return 0
    try:
        return start(VERBS, "nextpatch", words)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        if debug:
            raise
        return interrupted()
    except Exception as error:
        said = what_to_mend(error)
        if debug or said is None:
            error.add_note(_OURS if said is None else "")
            raise
        if said:
            print(f"nextpatch: error: {said}", file=sys.stderr)
        return 2


def what_to_mend(error: Exception) -> str | None:
    """The words for an error that the user or the machine's owner can mend; None for a mistake of our own.

    Only our own kinds of error are the user's, and those of the operating system. What Python and PyTorch say when the
    memory is full is put into words here.
    """
    if isinstance(error, (Failure, UserError, OSError)):
        return "\n".join(map(shown, str(error).splitlines())) + _remedy(error)
    if isinstance(error, MemoryError) or any(sign in f"{type(error).__name__}: {error}" for sign in _MEMORY_FULL):
        text = shown((str(error).splitlines() or ["Python could not get more"])[0])
        return f"the memory is full ({text}); take fewer images at a time, a smaller model or fewer workers"
    return None


def _remedy(error: Exception) -> str:
    """What to do about an error of the operating system whose words say only what it is; else nothing."""
    if not isinstance(error, OSError) or not error.filename:
        return ""
    return next((f"; {remedy}" for numbers, remedy in _REMEDIES if error.errno in numbers), "")
