"""`nextpatch tokenizer fit`, `show` and `apply`: codes of patches, for targets that are classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from nextpatch.cli.flags import ShortFor, Typed, stated
from nextpatch.cli.verb import Output, Verb
from nextpatch.config import read_toml
from nextpatch.core.bounds import check_bounds
from nextpatch.core.fields import Flag
from nextpatch.core.output import check_file, picture_kind, save_picture
from nextpatch.core.progress import phase
from nextpatch.data.config import Images
from nextpatch.runs.config import Device
from nextpatch.runs.given import Values, recipe_path
from nextpatch.runs.recipe import Recipe
from nextpatch.tasks.tokenizer.config import ApplyConfig, FitConfig

_Tokenizer = Annotated[Path, Flag("TOKENIZER", "a .safetensors file, or a run", positional=True)]


@dataclass(frozen=True)
class TokenizerFit:
    """Fit a tokenizer, which gives each patch of an image one of a fixed number of codes, and write it to a file.

    It is fitted on images cropped and flipped as in pre-training. Image and patch size are those of --recipe, or are
    chosen from the images; what pre-training with the same images and seed holds out is not used.

    examples:
      nextpatch tokenizer fit ./photos --out photos-512.safetensors
      nextpatch tokenizer fit ./photos --out photos-norm.safetensors --codes 1024 --norm --patch-size 8
      nextpatch tokenizer fit imagenet/train --recipe aim-600m --out codes.safetensors
    """

    data: Annotated[tuple[Images, ...], Flag(positional=True), ShortFor("data.train")] = ()
    config: FitConfig = field(kw_only=True)
    recipe: Annotated[str, Flag("RECIPE|RUN", "a .toml file, a shipped recipe or a run")] = ""
    """Recipe whose images, image size, crops and normalization are taken (default: chosen from the images)."""
    patch_size: Annotated[int, ShortFor("model.patch_size")] = 0
    img_size: Annotated[tuple[int, int] | None, Flag("H W"), ShortFor("model.img_size")] = None
    in_chans: Annotated[int, ShortFor("model.in_chans")] = 0
    seed: Annotated[int, ShortFor("train.seed")] = 0
    device: Annotated[Device, ShortFor("train.device")] = "auto"
    typed: Annotated[Values, Typed(Recipe, only=("data",))] = field(default_factory=dict)
    """Values of the recipe that were typed."""


@dataclass(frozen=True)
class Show:
    """Print what a tokenizer is, and draw its codes; with images, these beside what their codes say of them.

    examples:
      nextpatch tokenizer show photos-512.safetensors
      nextpatch tokenizer show photos-512.safetensors ./photos --out codes.png
    """

    file: _Tokenizer
    """Tokenizer to show."""
    data: Annotated[Images, Flag(positional=True)] = ""
    """Images to draw beside their reconstruction (default: none)."""
    out: Annotated[Path | None, Flag("FILE")] = None
    """Where to write the picture (default: beside the tokenizer)."""
    images: int = 8
    """How many images to draw."""


@dataclass(frozen=True)
class Apply:
    """Write the codes of every image into one file, in raster order, with the image's name.

    examples:
      nextpatch tokenizer apply photos-512.safetensors ./photos --out codes.parquet
    """

    config: ApplyConfig


def fit(args: TokenizerFit) -> int:
    """Fit, and say what came out."""
    from rich.console import Console

    from nextpatch.api.tokenizer import plan_for_tokenizer
    from nextpatch.tasks.tokenizer.fit import check_new, fit_tokenizer

    given = stated(args, args.typed)
    check_new(args.config.out)
    with phase("looking at the images"):
        plan = plan_for_tokenizer(read_toml(recipe_path(args.recipe)) if args.recipe else {}, given)
    Console().print("\n".join(plan.choices), markup=False, highlight=False, soft_wrap=True)
    print(f"{(found := fit_tokenizer(args.config, plan.recipe))}\n{found.out}")
    return 0


def show(args: Show) -> int:
    """Print and draw."""
    from nextpatch.tasks.tokenizer.show import facts_in_words, picture
    from nextpatch.tokenizer.artifact import read_artifact
    from nextpatch.tokenizer.tokenizer import file_of, tokenizer_of

    check_bounds(args, images=(1, 1000))
    out = _picture(args)
    picture_kind(out)
    check_file(out)
    artifact = read_artifact(file_of(args.file))
    tokenizer = tokenizer_of(artifact)
    print(facts_in_words(artifact.facts, tokenizer))
    with phase("drawing the codes"):
        save_picture(picture(tokenizer, artifact.facts, args.data, args.images), out)
    print(f"picture: {out}")
    return 0


def _picture(args: Show) -> Path:
    from nextpatch.data.collection import outside

    beside = args.file / "tokenizer.png" if args.file.is_dir() else args.file.with_suffix(".png")
    return outside(args.out or beside, [args.data] if args.data else [], default=args.out is None)


def apply(args: Apply) -> int:
    """Write the codes and say how many."""
    from nextpatch.tasks.tokenizer.apply import apply_tokenizer

    done = apply_tokenizer(args.config)
    left = f", {done.skipped:,} skipped (listed in {done.out.stem}.skipped.jsonl)" if done.skipped else ""
    print(f"{done.out}: {done.patches:,} codes for each of {done.images:,} images{left}")
    return 0


VERBS = {
    "fit": Verb(
        "fit a tokenizer on images",
        TokenizerFit,
        fit,
        lambda args: [Output(args.config.out, file=True)],
        needs=("api.tokenizer",),
    ),
    "show": Verb(
        "show a tokenizer and its codes",
        Show,
        show,
        lambda args: [Output(_picture(args), file=True)],
        needs=("tasks.tokenizer.show",),
    ),
    "apply": Verb(
        "write the codes of images to a file",
        Apply,
        apply,
        lambda args: [Output(args.config.out, file=True)],
        needs=("tasks.tokenizer.apply",),
    ),
}
