"""Every value of a recipe has a flag, with help, and only what is typed counts."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest
import tyro

from nextpatch.cli import main
from nextpatch.cli.flags import flag_table, summary, typed, words_of_ours
from nextpatch.cli.probe import Probe
from nextpatch.core.fields import field_docs
from nextpatch.runs.recipe import Recipe

ROOT = Path(__file__).parents[2]


def parse(*words):
    return typed(tyro.cli(flag_table(Recipe), args=words))


def values_of(config, path=""):
    """Every value of a configuration by its dotted name, with its docstring."""
    docs, hints = field_docs(config), get_type_hints(config)
    for item in fields(config):
        name = f"{path}{item.name}"
        yield from (
            values_of(hints[item.name], f"{name}.")
            if is_dataclass(hints[item.name])
            else [(name, docs.get(item.name, ""))]
        )


RECIPE = dict(values_of(Recipe))


@pytest.mark.parametrize("name", RECIPE)
def test_every_value_has_a_docstring_which_is_its_help(name):
    assert re.match(r"[A-Z].*[.]$", RECIPE[name], re.S), RECIPE[name]


def test_the_help_of_a_run_shows_every_docstring(capsys):
    with pytest.raises(SystemExit):
        main(["pretrain", "--help"])
    shown = "".join(capsys.readouterr().out.replace("│", " ").split())
    assert not [name for name, doc in RECIPE.items() if "".join(summary(doc).split()) not in shown]


def test_every_flag_that_is_named_anywhere_is_one_as_the_help_writes_it():
    known = {f"--{name}".replace("_", "-") for name in RECIPE}
    files = [*ROOT.glob("src/**/*.py"), ROOT / "README.md", *(p for p in ROOT.glob("docs/*.md") if p.name != "log.md")]
    named = {flag for file in files for flag in re.findall(r"--(?!nextpatch)[a-z]+\.[a-z_-]+\b", file.read_text())}
    assert len(named) > 10
    assert named <= known


def test_nothing_typed_is_nothing():
    assert parse() == {}


@pytest.mark.parametrize("flag", ["--data.crop-scale", "--data.crop_scale"])
def test_dash_and_underscore_mean_the_same(flag):
    assert parse(flag, "0.2", "1") == {"data": {"crop_scale": (0.2, 1.0)}}


def test_values_have_their_types():
    assert parse(
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
        parse(*words)
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
        ("probe w --data d --probes knn svm", "needs one of attentive, linear, knn, logistic, got 'svm'"),
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
    asked = tyro.cli(
        Probe, args=["w", "--data", "d", "--neighbors", "3", "4", "--probes", "knn"], registry=words_of_ours()
    )
    assert (asked.neighbors, asked.probes, asked.seeds) == ((3, 4), ("knn",), 1)
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["probe", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--neighbors INT ... numbers of nearest neighbors to try (default: 1 5 10 20 50)" in shown


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
        (["finetune", "--out", "\x1b[31mx"], "--out \\x1b[31mx holds characters that a terminal would obey"),
        (["data", "pack", "d", "--out=\udcff"], "--out \\xff holds"),
    ],
)
def test_an_output_without_a_name_or_with_an_odd_one_is_refused(words, said, capsys):
    assert main(words) == 2
    assert said in capsys.readouterr().err
