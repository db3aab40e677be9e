"""The command as a person meets it: help, verbs, errors, exit codes."""

import errno
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

from nextpatch.cli import command, main
from nextpatch.cli.command import VERBS, Verb
from nextpatch.cli.failure import Failure
from nextpatch.cli.flags import parse
from nextpatch.cli.verb import Group
from nextpatch.core.errors import UserError

HELP = """
import io, sys
from nextpatch.cli import main
sys.stdout = io.StringIO()
main(["pretrain", "--help"])
"""


def refusing(error):
    """A verb that ends in an error."""

    def run(_):
        raise error

    return Verb("fails", NoArguments, run)


@dataclass
class NoArguments:
    """Nothing to say."""


def test_help_names_every_verb(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in VERBS)


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("nextpatch ")


def test_no_words_at_all_show_the_help_and_fail(capsys):
    assert main([]) == 2
    assert "usage" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    assert f"nextpatch {verb}" in capsys.readouterr().out


def test_a_misspelled_verb_names_the_nearest(capsys):
    assert main(["pretain"]) == 2
    assert "did you mean 'pretrain'" in capsys.readouterr().err


def test_no_help_waits_for_torch():
    script = (
        "import sys; from nextpatch.cli import command, flags, verb\n"
        "groups = [one.verbs if isinstance(one, verb.Group) else {'': one} for one in command.VERBS.values()]\n"
        "for one in [one for group in groups for one in group.values()]: flags.arguments(one.arguments)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_longest_help_takes_less_than_half_a_second_of_a_core():
    seconds = []
    for _ in range(3):
        child = os.posix_spawn(sys.executable, [sys.executable, "-c", HELP], os.environ)
        _, status, used = os.wait4(child, 0)
        assert status == 0
        seconds.append(used.ru_utime + used.ru_stime)
    assert min(seconds) < 0.5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "Nano"], "recipe: model: unknown model size 'Nano'; did you mean 'nano'?"),
        (["--train.steps", "-1"], "recipe: train: steps -1 must lie between"),
        (["--minutes", "1", "--train.steps", "4"], "both say how long"),
    ],
)
def test_a_wrong_value_is_told_before_torch_is_loaded(words, said, monkeypatch, capsys):
    monkeypatch.setattr("nextpatch.cli.pretrain.loaded", lambda module: pytest.fail("loads PyTorch first"))
    assert main(["pretrain", "--data", "photos", "--out", "x", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("error", [Failure("such is life"), UserError("such is life"), OSError("such is life")])
def test_what_a_user_can_mend_is_one_line(error, monkeypatch, capsys):
    monkeypatch.setitem(command.VERBS, "pretrain", refusing(error))
    assert main(["pretrain"]) == 2
    assert capsys.readouterr().err == "nextpatch: error: such is life\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EISDIR, errno.EEXIST, errno.EACCES, errno.EROFS])
def test_an_error_of_the_system_names_the_file_and_what_to_do(number, monkeypatch, capsys):
    monkeypatch.setitem(command.VERBS, "pretrain", refusing(OSError(number, "such is life", "run/log.txt")))
    assert main(["pretrain"]) == 2
    said = capsys.readouterr().err
    assert "run/log.txt" in said
    assert "or choose another place" in said


def test_debug_shows_where(monkeypatch):
    monkeypatch.setitem(command.VERBS, "pretrain", refusing(Failure("such is life")))
    with pytest.raises(Failure):
        main(["pretrain", "--debug"])


def test_our_own_mistakes_are_not_hidden(monkeypatch):
    monkeypatch.setitem(command.VERBS, "pretrain", refusing(AssertionError()))
    with pytest.raises(AssertionError):
        main(["pretrain"])


@pytest.mark.parametrize("error", [ValueError("such is life"), KeyError("x"), RuntimeError("y"), TypeError("z")])
def test_an_error_of_our_own_keeps_its_traceback_and_says_so(error, monkeypatch):
    monkeypatch.setitem(command.VERBS, "pretrain", refusing(error))
    with pytest.raises(type(error)) as raised:
        main(["pretrain"])
    assert "a mistake in nextpatch" in raised.value.__notes__[0]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(), MemoryError("no 8 GiB"), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
)  # fmt: skip
def test_a_full_memory_is_told_as_such(error, monkeypatch, capsys):
    monkeypatch.setitem(command.VERBS, "pretrain", refusing(error))
    assert main(["pretrain"]) == 2
    assert capsys.readouterr().err.startswith("nextpatch: error: the memory is full (")


def test_no_error_speaks_to_the_terminal(monkeypatch, capsys):
    monkeypatch.setitem(command.VERBS, "pretrain", refusing(UserError("\x1b[2Jfile\nsecond line")))
    assert main(["pretrain"]) == 2
    assert capsys.readouterr().err == "nextpatch: error: \\x1b[2Jfile\nsecond line\n"


@pytest.mark.parametrize(
    ("word", "meant"), [("inspect", "data inspect"), ("verfy", "data verify"), ("prob", "probe"), ("embd", "embed")]
)
def test_a_verb_of_a_group_is_found_by_its_own_name(word, meant, capsys):
    assert main([word]) == 2
    assert f"did you mean '{meant}'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "x.safetensors", "--to", "onnx", "--layout", "released"], "--layout has no effect with --to onnx"),
        (["export", "x.safetensors", "--what", "patches", "--out", "y"], "--what has no effect with --to safetensors"),
        (["export", "x.safetensors", "--to", "timm", "--repo", "a/b"], "--repo has no effect with --to timm"),
        (["export", "x.safetensors", "--to", "onnx", "--step", "3"], "which is not a run"),
        (["plan", "--model", "base", "--model.size", "tiny"], "say the same thing"),
        (["plan", "--img-size", "28", "--model.img_size", "28", "28"], "say the same thing"),
        (
            ["finetune", "--weights", "w", "--data", "d", "--out", "o", "--full", "--rank", "4"],
            "rank apply to adapters only",
        ),
        (
            ["finetune", "--weights", "w", "--data", "d", "--out", "o", "--layer-decay", "0.5"],
            "layer_decay applies only",
        ),
        (["probe", "w", "--data", "d", "--probes", "linear", "--neighbors", "3"], "neighbors have no effect on"),
        (
            ["probe", "w", "--data", "d", "--probes", "knn", "--epochs", "3", "--lrs", "1"],
            "lrs, epochs have no effect on",
        ),
        (["embed", "d", "--weights", "w", "--out", "o", "--img-size", "0", "8"], "img_size 0 must lie between"),
    ],
)
def test_a_flag_that_another_overrules_is_refused(words, said, capsys):
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_no_recipe(tmp_path, capsys):
    assert main(["plan", str(tmp_path)]) == 2
    assert "a folder without recipe.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("steps", "said"), [("10", "640 images"), ("100000", "6.4 million images"), ("100000000", "6.4 billion images")]
)
def test_a_plan_counts_in_words_that_fit(steps, said, capsys):
    main(["plan", "--model", "nano", "--gpus", "1", "--batch", "64", "--steps", steps])
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("verb", [["classify"], ["data", "inspect"], ["data", "preview"]])
def test_no_help_shows_an_empty_default(verb, capsys):
    with pytest.raises(SystemExit):
        main([*verb, "--help"])
    assert "(default: )" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["classify", "a.jpg", "--weights", "w", "--top", "0"],
        ["classify", "a.jpg", "--weights", "w", "--workers", "-1"],
        ["similar", "a.jpg", "--index", "i", "--top", "-1"], ["report", "run", "--images", "0"],
        ["probe", "w", "--data", "d", "--seeds", "0"], ["data", "inspect", "d", "--limit", "-1"],
        ["data", "preview", "d", "--images", "1000000"], ["data", "pack", "d", "--out", "o", "--workers", "100000"],
        ["data", "index", "d", "--workers", "-2"], ["data", "verify", "d", "--workers", "100000"],
        ["plan", "--tflops", "nan"], ["plan", "--mfu", "inf"], ["plan", "--gpus", "1000000000"],
        ["bench", "--weights", "w", "--out", "o", "--workers", "-1"],
        ["finetune", "--weights", "w", "--data", "d", "--out", "o", "--weight-decay", "nan"],
    ],
)  # fmt: skip
def test_an_absurd_number_is_one_line_and_leaves_nothing(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def verbs():
    """Every verb by all of its words."""
    for word, verb in command.VERBS.items():
        inner = verb.verbs.items() if isinstance(verb, Group) else [("", verb)]
        yield from (pytest.param(f"{word} {name}".strip(), found, id=f"{word} {name}") for name, found in inner)


@pytest.mark.parametrize(("name", "verb"), list(verbs()))
def test_every_help_shows_examples_which_the_verb_can_read(name, verb):
    lines = [line for line in verb.arguments.__doc__.splitlines() if f"nextpatch {name} " in f"{line} "]
    assert lines
    for line in lines:
        parse(verb.arguments, name, shlex.split(line.split(f"nextpatch {name}", 1)[1]))
