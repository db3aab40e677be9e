"""`nextpatch.fit_tokenizer` and `load_tokenizer`: codes of patches, fitted on images or opened from a file."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from nextpatch.api.config import config_of
from nextpatch.api.given_values import out_path
from nextpatch.api.images import Images, named
from nextpatch.api.recipes import RecipeLike, in_tables, values_below
from nextpatch.api.session import session
from nextpatch.core.progress import phase
from nextpatch.core.writer import only_writer
from nextpatch.runs.given import Values, overlay
from nextpatch.tasks.pretrain.plan import PretrainPlan, resolve
from nextpatch.tasks.tokenizer.config import FitConfig
from nextpatch.tasks.tokenizer.fit import Fitted
from nextpatch.tasks.tokenizer.fit import fit_tokenizer as fit_on_recipe
from nextpatch.tokenizer.tokenizer import Tokenizer, open_tokenizer

_MODEL, _TRAIN = ("img_size", "patch_size", "in_chans"), ("seed", "device")
_SAID = ("images:", "note:", "warning:", "data.", "train.device", *(f"model.{name}" for name in _MODEL))


def fit_tokenizer(
    images: Images,
    out: str | Path,
    /,
    *,
    kind: str = "kmeans",
    codes: int | None = None,
    recipe: RecipeLike | None = None,
    quiet: bool = False,
    **values: Any,
) -> Fitted:
    """Fit a tokenizer on images, as `nextpatch tokenizer fit` does, and write it to `out`, a new .safetensors file.

    `images`: as `nextpatch.dataset` takes them, or names as on the command line. `recipe`: a recipe or a run whose
    image and patch size, crops and normalization are taken; what nothing says is chosen from the images. `values`:
    those of the kind (norm=True), `images=1000` for how many views, and of a recipe (patch_size=8, seed=1).

    Returns what was written, which `load_tokenizer` opens: `.facts`, `.quality`. Raises ConfigError for a wrong value
    or an output that is there, DataError for images that cannot be used, TokenizerError where there are fewer
    different patches than codes.

    >>> import numpy as np, nextpatch
    >>> pixels = np.random.default_rng(0).integers(0, 255, (40, 28, 28), np.uint8)
    >>> made = nextpatch.fit_tokenizer(pixels, tmp / "t.safetensors", codes=16, patch_size=7, images=30, quiet=True)
    >>> made.facts.codes, made.facts.patch_size, made.facts.fitted["images"]
    (16, 7, 30)
    """
    given, options = named(images), {item.name for item in fields(FitConfig)}
    of_fit = {name: value for name, value in values.items() if name in options}
    config = config_of(FitConfig, fit_tokenizer, out=out_path(out), kind=kind, codes=codes, **of_fit)
    tables = in_tables({name: value for name, value in values.items() if name not in options}, sorted(options))
    stated = overlay(tables, {"data": {**tables.get("data", {}), "train": list(given.names)}})
    with session(quiet) as console, only_writer(config.out, "tokenizer fit", file=True):
        with phase("looking at the images"):
            plan = plan_for_tokenizer(values_below(recipe), stated)
        console.print("\n".join(plan.choices), markup=False, highlight=False, soft_wrap=True)
        return fit_on_recipe(config, plan.recipe)


def load_tokenizer(file: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer in a .safetensors file, in a run, or that `fit_tokenizer` returned, on the CPU.

    `.encode(images)` gives a code for each patch of images "batch channels height width" that are normalized by its
    `.mean` and `.std`, `.decode(codes, grid)` the images of codes. Raises TokenizerError for a file that is absent,
    damaged or something else.

    >>> import numpy as np, torch, nextpatch
    >>> pixels = np.random.default_rng(0).integers(0, 255, (40, 28, 28), np.uint8)
    >>> made = nextpatch.fit_tokenizer(pixels, tmp / "t.safetensors", codes=16, patch_size=7, quiet=True)
    >>> tokenizer = nextpatch.load_tokenizer(made)
    >>> tokenizer.decode(tokenizer.encode(torch.zeros(2, 1, 28, 28)), (4, 4)).shape
    torch.Size([2, 1, 28, 28])
    """
    return open_tokenizer(Path(os.fspath(file)))


def plan_for_tokenizer(below: Values, above: Values) -> PretrainPlan:
    """The recipe of `below` with `above` over it, as far as a tokenizer depends on it; what is open is chosen."""
    values = overlay(below, above)
    kept: Values = {"model": {"size": "nano"}, "data": values.get("data", {}), "train": {}}
    for table, names in (("model", _MODEL), ("train", _TRAIN)):
        found = values.get(table, {})
        kept[table] |= {name: found[name] for name in names if name in found}
    plan = resolve(kept)
    return plan._replace(choices=[line for line in plan.choices if line.startswith(_SAID)])
