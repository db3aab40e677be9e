"""One flag per value of a recipe, each without a default, so that what was typed can be told from what was not."""

from __future__ import annotations

from dataclasses import asdict, field, fields, is_dataclass, make_dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Optional, Union, get_args, get_origin, get_type_hints

from tyro.conf import arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from nextpatch.core.text import shown as shown_text
from nextpatch.data.preprocessing import Layout

HELP: dict[str, str] = {
    "model.size": "nano, tiny, small, base, large, 600m, 1b, 3b or 7b",
    "model.img_size": "height and width that the model sees, in pixels (chosen from the data)",
    "model.patch_size": "side of a patch, in pixels (chosen from the data)",
    "model.in_chans": "channels of an image (chosen from the data)",
    "model.embed_dim": "width of the trunk (default: the size's)",
    "model.depth": "blocks of the trunk (default: the size's)",
    "model.num_heads": "attention heads (default: the size's)",
    "model.head_width": "width of the pixel head (default: the size's)",
    "model.head_depth": "blocks of the pixel head (default: the size's)",
    "model.target": "what is predicted: patches normalized by their own mean and deviation, or pixels",
    "model.attention": "what a patch sees in pre-training: a drawn prefix and all before it, or all before it",
    "data.train": "images to learn from; several, or with =WEIGHT behind each a mixture (the same as --data)",
    "data.val": "images to measure the loss on, when they are not held out of the training data (default: none)",
    "data.val_images": "how many images the validation loss is measured on (chosen from the data)",
    "data.crop_scale": "smallest and largest share of the image's area that a training crop takes",
    "data.crop_ratio": "smallest and largest width-to-height ratio of a training crop",
    "data.flip": "probability of a horizontal flip",
    "data.mean": "mean per channel, of pixels in [0, 1] (default: ImageNet's for three channels)",
    "data.std": "standard deviation per channel, of pixels in [0, 1] (default: ImageNet's for three channels)",
    "data.workers": "processes that decode images; 0: this one (chosen from the machine)",
    "data.streams": "places that are read from side by side, where shards are read whole (chosen from the data)",
    "data.window": "shards whose samples are mixed at a time, in each stream, where shards are read whole",
    "data.pixel_range": "values that become black and white, in images of more than 8 bits (default: the type's range)",
    "data.range_from": "how pixel_range is chosen from a look at the images: the least and greatest value, percentiles",
    "data.layout": "axes of arrays; auto: height x width x channels, and what does not look so is refused",
    "data.pages": "of a TIFF with several pages of one size: the first, or all of them as bands",
    "data.keep_exact": "evaluate an image of exactly the model's size as it is; else as the released models do",
    "data.max_bad": "share of samples that may be unusable before the run stops",
    "data.stall_s": "seconds without a batch after which the data workers are replaced",
    "optim.lr": "peak learning rate",
    "optim.min_lr": "learning rate at the end",
    "optim.warmup_steps": "steps of linear warm-up (default: 2.5 % of the run)",
    "optim.weight_decay": "decay of weights; biases and norms have none",
    "optim.betas": "AdamW's two decay rates",
    "optim.eps": "AdamW's epsilon",
    "optim.clip_norm": "largest norm of the gradient",
    "train.steps": "optimizer steps (chosen from the number of images)",
    "train.minutes": "as many steps as fit into so many minutes, the report included (the same as --minutes)",
    "train.global_batch_size": "images per step (chosen from the number of images)",
    "train.micro_batch_size": "images at a time; a matter of memory only (chosen from the memory)",
    "train.precision": "number format of matrix products (chosen from the machine)",
    "train.device": "where to compute (chosen from the machine)",
    "train.seed": "of weights, order of images, crops and prefixes",
    "train.val_every": "steps between validations (chosen from the length of the run)",
    "train.checkpoint_every": "steps between checkpoints (chosen from the length of the run)",
    "train.keep_checkpoints": "checkpoints that stay on the disk",
    "train.log_every": "steps between entries in metrics.jsonl",
    "train.threads": "CPU threads (chosen from the machine)",
    "train.keep_every": "checkpoints of steps that are multiples of this are kept for ever (default: none)",
    "train.init": "weights to begin with, as nextpatch.load takes them (default: random ones; the same as --init)",
    "train.freeze_trunk": "learn the pixel head alone, as nextpatch fit-head does",
    "guard.non_finite": "a step whose loss or gradients are not finite: stop the run, or skip the step",
    "guard.spike": "a step whose loss or gradient norm is far above those before it",
    "guard.sigmas": "how far: in standard deviations of the window",
    "guard.window": "how many steps the guard remembers",
    "guard.max_skips": "skipped steps in a row after which the run stops",
    "engine.replicate": "copies of the model that are kept equal (chosen from the model and the ranks)",
    "engine.shard": "ranks that hold one copy of the model together (chosen from the model and the ranks)",
    "engine.activation_checkpointing": "what backward computes again instead of keeping it in memory",
    "engine.compile": "compile each block: minutes at the start, faster from then on",
    "engine.background_save": "write checkpoints while the training goes on",
}


def optional(metavar: str, text: str, name: str | None = None) -> Any:
    """An argument that may be left out; its help shows no default."""
    return arg(name=name, metavar=metavar or None, help=text, help_behavior_hint="")


def img_size() -> tuple[Any, Any]:
    """The flag --img-size, of one meaning in every verb that takes weights."""
    text = "height and width that the model sees, multiples of its patch size (default: as the weights say)"
    return optional("H W", text), read_as(tuple[int, int])


def pixel_range() -> tuple[Any, Any]:
    """The flag --pixel-range."""
    text = "values that become black and white in images of more than 8 bits (default: as the weights say)"
    return optional("LOW HIGH", text), read_as(tuple[float, float])


def layout() -> tuple[Any, Any]:
    """The flag --layout."""
    return optional("AXES", "of arrays: channels_last or channels_first (default: as the weights say)"), read_as(Layout)


def flag_table(config: type, path: str = "") -> Any:
    """A dataclass like `config` in which every value may be None (not typed), with help for the command line."""
    hints, items = get_type_hints(config), []
    for item in fields(config):
        name, hint = f"{path}{item.name}", hints[item.name]
        if isinstance(hint, type) and is_dataclass(hint):
            table = flag_table(hint, f"{name}.")
            items.append((item.name, table, field(default_factory=table)))
        else:
            shown = arg(help=HELP[name], metavar=_metavar(hint), help_behavior_hint=_default_text(name, item.default))
            items.append((item.name, Annotated[Optional[hint], shown, read_as(hint)], field(default=None)))  # noqa: UP045
    return make_dataclass(config.__name__, items, frozen=True)


def typed(tables: Any) -> dict[str, Any]:
    """What was typed, as nested plain values; tables of which nothing was typed are left out."""
    return _without_none(asdict(tables))


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    plain = {k: _without_none(v) if isinstance(v, dict) else v for k, v in values.items()}
    return {k: v for k, v in plain.items() if v is not None and v != {}}


def read_as(hint: Any) -> PrimitiveConstructorSpec[Any]:
    """How the words behind a flag become its value; without this a wrong one would be told in Python's terms."""
    parts = get_args(hint) if get_origin(hint) is tuple else (hint,)
    several = get_origin(hint) is tuple
    count: Any = "*" if ... in parts else len(parts)

    def value(words: list[str]) -> Any:
        kinds = (parts[0],) * len(words) if ... in parts else parts
        found = tuple(_one(word, kind) for word, kind in zip(words, kinds, strict=True))
        return found if several else found[0]

    return PrimitiveConstructorSpec(
        nargs=count, metavar=_metavar(hint), instance_from_str=value, is_instance=lambda given: True,
        str_from_instance=lambda given: [] if given is None else [str(v) for v in (given if several else (given,))],
    )  # fmt: skip


def words_of_ours() -> ConstructorRegistry:
    """How every flag of numbers, or of several values, is read that says nothing of it: by `read_as`, too."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def _numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        given = [kind for kind in get_args(info.type) if kind is not NoneType]
        hint = given[0] if get_origin(info.type) in (Union, UnionType) and len(given) == 1 else info.type
        several = get_origin(hint) is tuple and str not in get_args(hint)
        return read_as(hint) if hint in (int, float) or several else None

    return registry


def chosen(kind: Any) -> PrimitiveConstructorSpec[Any]:
    """How a number is read that is chosen where it is left out: a 0 that was typed would silently mean the same."""
    plain = read_as(kind)

    def value(words: list[str]) -> Any:
        found = plain.instance_from_str(words)
        if found == 0:
            raise ValueError("needs a number above 0, got 0; leave it out for what is chosen")
        return found

    return replace(plain, instance_from_str=value)


def _one(word: str, kind: Any) -> Any:
    choices = get_args(kind) or (("True", "False") if kind is bool else ())
    if choices and word not in choices:
        raise ValueError(f"needs one of {', '.join(choices)}, got '{shown_text(word)}'")
    if kind is bool:
        return word == "True"
    if choices or kind is str:
        return word
    try:
        return kind(word)
    except ValueError:
        named = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
        raise ValueError(f"needs {named}, got '{shown_text(word)}'") from None


def _metavar(hint: Any) -> str:
    """How the value is written: INT, FLOAT FLOAT, {a,b}."""
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        return f"{_metavar(parts[0])} ..." if ... in parts else " ".join(map(_metavar, parts))
    choices = get_args(hint)
    return "{" + ",".join(choices) + "}" if choices else str(hint.__name__).upper()


def _default_text(name: str, default: Any) -> str:
    if HELP[name].endswith(")"):
        return ""
    shown = " ".join(f"{v:g}" for v in default) if isinstance(default, tuple) else default
    return f"(default: {shown})"
