"""`nextpatch export`: weights as one file, as a graph, in another library's layout, or on the Hub."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from nextpatch.cli.verb import Output
from nextpatch.core.bounds import SIDE, check_bounds
from nextpatch.core.errors import UserError
from nextpatch.core.fields import Flag
from nextpatch.core.output import check_file, check_folder
from nextpatch.core.progress import phase
from nextpatch.model.config import InferenceAttention
from nextpatch.runs.config import Weights

To = Literal["safetensors", "released", "onnx", "torch.export", "timm", "hub"]
_NAMES = {"onnx": "model.onnx", "torch.export": "model.pt2", "timm": "timm.safetensors", "released": "released"}


_SNAPSHOT = ("config.json", "model.safetensors", "pixel_head.safetensors")


@dataclass(frozen=True)
class Export:
    """Write weights as files that others can use: those of a run, or any that nextpatch loads.

    safetensors: one file with the model's config inside. Every finished run has it already; this writes it for a
    stopped run or an older checkpoint.

    released: a folder in the layout of the released models, with the probe's classifier.

    onnx, torch.export: a graph from pixels in [0, 1] to logits (or what --what says), compared with the model.

    timm: the tensors of timm's VisionTransformer, compared with timm.

    hub: the released layout with a model card, uploaded to --repo; with --out it is only written to that folder.

    examples:
      nextpatch export runs/photos
      nextpatch export runs/photos --step 4000 --layout released --out photos.safetensors
      nextpatch export runs/photos --to onnx --out photos.onnx
      nextpatch export apple/aim-600M --to timm --out aim-600m.timm.safetensors
      nextpatch export runs/photos --to hub --repo me/photos --private
    """

    weights: Annotated[Weights, Flag(positional=True)]
    """Weights to export."""
    to: To = "safetensors"
    """What to write."""
    out: Annotated[Path | None, Flag("PATH")] = None
    """Where to write it (default: into the run, with the usual name)."""
    step: int | None = None
    """Checkpoint of the run to export, by its step (default: the newest)."""
    raw: bool = False
    """Export the weights of the step itself, of a run that averages its weights (train.ema_half_life)."""
    layout: Literal["ours", "released"] = "ours"
    """Names of the tensors in a safetensors file."""
    what: Literal["auto", "logits", "pooled", "patches"] = "auto"
    """What a graph computes: class logits, one vector per image, or one per patch."""
    layers: Annotated[str, Flag("SET")] = ""
    """Blocks whose mean is read, such as 3, 2,3 or 0-3 (default: as the weights say)."""
    attention: InferenceAttention | None = None
    """Attention by which features are computed (default: as the classifier of the weights reads them, else
    bidirectional)."""
    repo: Annotated[str, Flag("OWNER/NAME")] = ""
    """Repository on the Hub to upload to."""
    private: bool = False
    """Make that repository private."""
    license: str = "other"
    """License of the weights, by its name on the Hub."""
    img_size: Annotated[tuple[int, int] | None, Flag("H W")] = None
    """Height and width that the model sees, multiples of its patch size (default: as the weights say)."""


_READS = {"layout": ("safetensors",), "what": ("onnx", "torch.export"), "repo": ("hub",), "private": ("hub",),
          "license": ("hub",)}  # fmt: skip


def _refuse_ignored(args: Export, of_run: bool) -> None:
    """UserError for a flag that this kind of export does not read: it would be overlooked without a word."""
    unread = [name for name, kinds in _READS.items() if args.to not in kinds]
    unread += [] if of_run else ["layout"]
    unread += [] if of_run or "+" in args.weights else ["step", "raw"]
    if of_run and args.to == "safetensors":
        unread += ["layers", "attention"]
    if args.to == "hub" and args.out is not None:
        unread.append("private")
    for item in fields(Export):
        if item.name in unread and getattr(args, item.name) != item.default:
            whose = "" if of_run or item.name not in ("step", "raw") else f" of {args.weights}, which is not a run"
            raise UserError(f"--{item.name} has no effect with --to {args.to}{whose}; leave it out")


def writes(args: Export) -> list[Output]:
    """The file, or the folder of a layout of several files; a run's own file is held where it is written."""
    if args.to == "safetensors" and not args.out:
        return []
    out = args.out or Path(args.weights) / _NAMES.get(args.to, "")
    folder = args.to in ("released", "hub") or (args.to == "safetensors" and _is_snapshot(args.weights))
    return [Output(out, file=not folder)] if args.out or (out.parent.is_dir() and args.to != "hub") else []


def run(args: Export) -> int:
    """Write it and say where."""
    with phase("exporting"):
        return _exported(args)


def _exported(args: Export) -> int:
    from nextpatch.runs.run import RunDir

    of_run = RunDir.exists(Path(args.weights))
    _refuse_ignored(args, of_run)
    check_bounds(args, img_size=SIDE)
    if of_run and args.img_size and not args.out and args.to != "hub":
        raise UserError("the run's own file keeps its own image size; name another file to write: --out PATH")
    if out := args.out or (_place(args) if args.to in _NAMES else None):
        if args.to in ("released", "hub") or (args.to == "safetensors" and not of_run):
            check_folder(out, files=[*_SNAPSHOT, *(["README.md"] if args.to == "hub" else [])])
        else:
            check_file(out)
    if args.to == "safetensors" and (of_run or Path(args.weights).is_dir()) and not _is_snapshot(args.weights):
        from nextpatch.runs.export import export_model

        of = RunDir.open(Path(args.weights))
        _say(export_model(of, args.out, args.step, args.layout, args.img_size, args.raw))
        return 0
    if args.to == "hub":
        return _hub(args)
    from nextpatch.weights.load import load

    backbone = load(
        args.weights, layers=args.layers, step=args.step, raw=args.raw, img_size=args.img_size,
        attention=args.attention,
    )  # fmt: skip
    out = out or _place(args)
    out.parent.mkdir(parents=True, exist_ok=True)
    if args.to in ("safetensors", "released"):
        from nextpatch.weights.snapshot import save_snapshot

        save_snapshot(backbone, out)
        print(f"{out}/  config.json and model.safetensors")
        return 0
    if args.to == "timm":
        from nextpatch.tasks.publish.timm import to_timm

        apart = to_timm(backbone, out)
    else:
        from nextpatch.tasks.publish.graph import to_onnx, to_torch_export

        apart = (to_onnx if args.to == "onnx" else to_torch_export)(backbone, out, args.what)
    _say(out, f", differs from the model by {apart:.1e} at most")
    return 0


def _place(args: Export) -> Path:
    """In the run, or a UserError where there is none."""
    from nextpatch.runs.run import RunDir

    if not RunDir.exists(Path(args.weights)):
        raise UserError(f"{args.weights} is not a run; name the file to write: --out PATH")
    return Path(args.weights) / _NAMES[args.to]


def _is_snapshot(weights: str) -> bool:
    return (Path(weights) / "config.json").exists()


def _hub(args: Export) -> int:
    from nextpatch.tasks.publish.hub import push, write_for_hub

    if args.out is None and not args.repo:
        raise UserError("name the repository on the Hub: --repo OWNER/NAME; or write only the folder: --out DIR")
    if args.out is not None:
        repo = args.repo or f"OWNER/{args.out.resolve().name}"
        folder = write_for_hub(
            args.weights, repo, args.out, args.layers, args.license, args.step, args.img_size, args.attention, args.raw
        )
        print(f"{folder}/  nothing was uploaded")
        return 0
    how = args.layers, args.license, args.step, args.img_size, args.attention, args.raw
    print(push(args.weights, args.repo, args.private, *how))
    return 0


def _say(out: Path, more: str = "") -> None:
    print(f"{out}  ({out.stat().st_size / 2**20:,.1f} MiB{more})")
