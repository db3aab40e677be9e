"""One flag per field of a verb and of its configs, with the field's docstring as help; only what is typed counts."""

import importlib
import re
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import pytest

from nextpatch.cli import command, main
from nextpatch.cli.flags import ShortFor, Typed, parse, summary
from nextpatch.cli.probe import Probe
from nextpatch.cli.verb import Group
from nextpatch.cli.words import placeholder, plain
from nextpatch.core.fields import Flag, field_docs
from nextpatch.data.config import Images
from nextpatch.model.config import ModelConfig
from nextpatch.runs.config import Precision, Weights
from nextpatch.runs.recipe import Recipe

ROOT = Path(__file__).parents[2]


@dataclass
class OfRecipe:
    """What is typed of a recipe."""

    typed: Annotated[dict[str, Any], Typed(Recipe)] = field(default_factory=dict)


@dataclass
class OfOwn:
    """Fields of every kind."""

    place: Annotated[str, Flag("PLACE", "a town or a village", positional=True)]
    """Where to go."""
    by: Annotated[tuple[str, ...], Flag("WAY", name="how", repeated=True)] = ()
    """Means of transport.

    This is for readers of the code.
    """
    speed: float = 0.0
    """Speed on the way (default: as the traffic says)."""
    fast: bool = False
    """Hurry."""
    safe: bool = True
    """Look twice."""


def own(*words):
    return parse(OfOwn, "own", words)


def typed(*words):
    return parse(OfRecipe, "recipe", words).typed


def verbs():
    """The words and the dataclass of every verb."""
    for word, verb in command.VERBS.items():
        inner = verb.verbs.items() if isinstance(verb, Group) else [("", verb)]
        yield from ((f"{word} {name}".strip(), found.arguments) for name, found in inner)


def configs_of(verb):
    """The configs whose fields are flags of the verb, those of tables among them, each with its fields."""
    for hint in get_type_hints(verb, include_extras=True).values():
        marks = [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Typed)]
        for config, only in [(mark.config, mark.only) for mark in marks] or [(plain(hint), ())]:
            if is_dataclass(config):
                inner = {name: kind for name, kind in get_type_hints(config).items() if not only or name in only}
                yield config, [name for name, kind in inner.items() if not is_dataclass(kind)]
                yield from ((kind, [f.name for f in fields(kind)]) for kind in inner.values() if is_dataclass(kind))


def own_of(verb):
    """The fields of the verb itself; with those of a mixin, without what says again what a recipe's value says."""
    hints = get_type_hints(verb, include_extras=True)
    inside = {name for name, hint in hints.items() if is_dataclass(plain(hint)) or _marked(hint, Typed)}
    return [name for name, hint in hints.items() if name not in inside and not _marked(hint, ShortFor)]


def _marked(hint, kind):
    return any(isinstance(mark, kind) for mark in getattr(hint, "__metadata__", ()))


VERBS = dict(verbs())
RECIPE = [f"{table.name}.{item.name}" for table in fields(Recipe()) for item in fields(getattr(Recipe(), table.name))]


@pytest.mark.parametrize("verb", VERBS)
def test_every_field_of_a_verb_and_its_configs_has_a_docstring_which_its_help_shows(verb, capsys):
    with pytest.raises(SystemExit):
        main([*verb.split(), "--help"])
    shown = "".join(capsys.readouterr().out.replace("│", " ").split())
    parts = [*configs_of(VERBS[verb]), (VERBS[verb], own_of(VERBS[verb]))]
    docs = {f"{config.__name__}.{name}": field_docs(config).get(name, "") for config, names in parts for name in names}
    assert docs
    for name, doc in docs.items():
        assert re.match(r"[A-Za-z].*[.]$", doc, re.DOTALL), f"{name} needs a docstring: a sentence"
        assert "".join(re.sub(r" \((default|chosen)[^()]*\)$", "", summary(doc)).split()) in shown, name


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_says_again_what_a_config_of_it_says(verb):
    said = {name for _, names in configs_of(VERBS[verb]) for name in names}
    assert not said & set(own_of(VERBS[verb]))


def test_every_config_is_the_command_line_of_a_verb():
    used = {base for verb in VERBS.values() for config, _ in configs_of(verb) for base in config.__mro__}
    files = [path.relative_to(ROOT / "src").with_suffix("").parts for path in (ROOT / "src").rglob("config.py")]
    modules = [importlib.import_module(".".join(parts)) for parts in files]
    found = [
        one for module in modules for one in vars(module).values() if getattr(one, "__module__", "") == module.__name__
    ]
    of_files = {"Shape", "StudyConfig", "Variant", "Claim"}  # of a size, and of a study file
    assert {config.__name__ for config in found if is_dataclass(config) and config not in used} == of_files
    assert len(used) > 10


def test_every_flag_that_is_named_anywhere_is_one_as_the_help_writes_it():
    known = {f"--{name}".replace("_", "-") for name in RECIPE}
    files = [*ROOT.glob("src/**/*.py"), ROOT / "README.md", *(p for p in ROOT.glob("docs/*.md") if p.name != "log.md")]
    named = {flag for file in files for flag in re.findall(r"--(?!nextpatch)[a-z]+\.[a-z_-]+\b", file.read_text())}
    assert len(named) > 10
    assert named <= known


def test_a_field_of_any_kind_is_a_flag():
    assert own("Rome") == OfOwn("Rome")
    assert own("Rome", "--how", "car", "--how", "foot", "--speed", "2", "--fast", "--no-safe") == OfOwn(
        "Rome", ("car", "foot"), 2.0, True, False
    )
    with pytest.raises(SystemExit):
        own("Rome", "--by", "car")


def test_the_help_is_the_first_paragraph_the_forms_and_the_default(capsys):
    with pytest.raises(SystemExit):
        own("--help")
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for said in (
        "PLACE Where to go: a town or a village (required)", "--how WAY Means of transport", "--fast Hurry",
        "--speed FLOAT Speed on the way (default: as the traffic says)", "Look twice (default: True)",
    ):  # fmt: skip
        assert said in shown
    assert "readers of the code" not in shown


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        (Weights, "WEIGHTS"), (Annotated[Weights | Path, Flag(positional=True)], "WEIGHTS"), (int | None, "INT"),
        (Annotated[tuple[Images, ...], Flag(positional=True)], "DATA ..."), (tuple[int, float], "INT FLOAT"),
        (Precision, "{auto,fp32,bf16}"),
        (get_type_hints(ModelConfig, include_extras=True)["head"], "{mlp,none,transformer,flow,diffusion,density}"),
    ],
)  # fmt: skip
def test_a_value_is_shown_by_its_own_word_or_by_its_type(hint, shown):
    assert placeholder(hint) == shown


def test_docstrings_are_found_in_bases_and_need_no_source():
    assert field_docs(Probe)["seeds"].startswith("Measure")
    assert "img_size" in field_docs(get_type_hints(Probe)["config"])
    made = type("Made", (), {"__module__": "builtins"})
    assert field_docs(made) == {}


def test_nothing_typed_is_nothing():
    assert typed() == {}


@pytest.mark.parametrize("flag", ["--data.crop-scale", "--data.crop_scale"])
def test_dash_and_underscore_mean_the_same(flag):
    assert typed(flag, "0.2", "1") == {"data": {"crop_scale": (0.2, 1.0)}}


def test_values_have_their_types():
    assert typed(
        "--train.steps", "7", "--optim.lr", "1e-2", "--train.precision", "bf16", "--data.mean", ".1", ".2"
    ) == {
        "train": {"steps": 7, "precision": "bf16"},
        "optim": {"lr": 1e-2},
        "data": {"mean": (0.1, 0.2)},
    }


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("--optim.lrr", "1"), "--optim.lr"),
        (("--train.steps", "many"), "whole number"),
        (("--train.device", "tpu"), "cuda"),
    ],
)
def test_a_wrong_flag_or_value_is_named_with_what_is_right(words, shown, capsys):
    with pytest.raises(SystemExit) as left:
        typed(*words)
    assert left.value.code == 2
    assert shown in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model.patch_size", "abc"], "needs a whole number, got 'abc'"),
        (["--model.img_size", "3"], "Expected 2 values"),
        (["--optim.betas", "0.9", "x"], "needs a number, got 'x'"),
        (["--train.precision", "fp9"], "needs one of auto, fp32, bf16, got 'fp9'"),
        (["--train.freeze_trunk", "maybe"], "needs one of True, False"),
        (["--data.mean", "1", "b"], "needs a number, got 'b'"),
    ],
)
def test_a_wrong_value_is_told_in_the_users_terms(words, said, capsys):
    with pytest.raises(SystemExit):
        main(["pretrain", "--out", "x", *words])
    shown = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert said in shown
    assert "None" not in shown
    assert "[bold]" not in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("pretrain --out x --minutes abc", "needs a number, got 'abc'"),
        ("probe w --data d --labels many", "needs a whole number, got 'many'"),
        ("probe w --data d --lrs fast", "needs a number, got 'fast'"),
        ("probe w --data d --overlap maybe", "needs one of refuse, leave-out, keep, got 'maybe'"),
        ("plan --gpus many", "needs a whole number, got 'many'"),
        ("plan --mfu half", "needs a number, got 'half'"),
        ("similar q --index i --top x", "needs a whole number, got 'x'"),
    ],
)
def test_a_wrong_value_of_any_verb_is_told_in_the_users_terms(words, said, capsys):
    with pytest.raises(SystemExit):
        main(words.split())
    shown = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert said in shown
    assert not any(word in shown for word in ("None", "literal", "valid parse"))


def test_several_values_are_read_and_their_defaults_are_shown(capsys, monkeypatch):
    asked = parse(Probe, "probe", ["w", "--data", "d", "--neighbors", "3", "4", "--probes", "knn"])
    assert (asked.config.neighbors, asked.config.probes, asked.seeds) == ((3, 4), ("knn",), 1)
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["probe", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--neighbors INT ... Numbers of nearest neighbors to try (default: 1 5 10 20 50)" in shown


@pytest.mark.parametrize(
    "words",
    [
        "plan --img-size 0",
        "plan --tflops 0.0",
        "plan --intra-gbs=0",
        "finetune --weights w --data d --out o --epochs 0",
        "probe w --data d --epochs 0",
        "fit-head --out o --steps 0",
        "bench --weights w --out o --batch-size 0",
        "data inspect d --limit 0",
    ],
)
def test_a_typed_0_is_not_taken_for_what_is_chosen(words, capsys):
    with pytest.raises(SystemExit):
        main(words.split())
    assert "above 0" in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pretrain", "--out", ""], "--out is empty"),
        (["embed", "d", "--out="], "--out is empty"),
        (["report", ""], "is empty; give a value"),
        (["finetune", "--out", "\x1b[31mx"], "--out \\x1b[31mx holds characters that control a terminal"),
        (["data", "pack", "d", "--out=\udcff"], "--out \\xff holds"),
    ],
)
def test_an_output_without_a_name_or_with_an_odd_one_is_refused(words, said, capsys):
    assert main(words) == 2
    assert said in capsys.readouterr().err
