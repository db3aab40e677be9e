"""Tables and studies become laws; what cannot be used is told with file, line and remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from laws_made import ends
from nextpatch.cli import main
from nextpatch.core.errors import UserError
from nextpatch.law.csv_runs import NEEDED, TableError, read_runs
from nextpatch.law.run import fit_runs, write_all
from nextpatch.law.study_runs import runs_of_study
from nextpatch.law.words import law_text, optimum_text, short
from nextpatch.scaling.law import Law
from nextpatch.scaling.law_file import read_law
from nextpatch.study.run import run_study
from studies_made import small

COLUMNS = ("name", "seed", "params_trunk", "params_head", "images", "patches_per_image", "flops", "loss", "error",
           "train_images")  # fmt: skip


def table(path: Path, columns: tuple[str, ...] = COLUMNS, more: tuple[str, ...] = (), **changed: str) -> Path:
    """The runs of a known law as a CSV file; `changed` replaces values of its third line."""
    rows = [[str(getattr(run, name)) for name in columns] for run in ends(noise=0.004, seed=1)]
    for name, value in changed.items():
        rows[1][columns.index(name)] = value
    path.write_text("\n".join([",".join(columns), *map(",".join, rows), *more]) + "\n")
    return path


@pytest.fixture(scope="module")
def law(tmp_path_factory: pytest.TempPathFactory) -> Law:
    return fit_runs(table(tmp_path_factory.mktemp("law") / "runs.csv"), bootstraps=100)


def test_a_table_gives_the_runs_that_were_written(tmp_path: Path) -> None:
    found, left_out = read_runs(table(tmp_path / "runs.csv"))
    assert [(run.loss, run.spent, run.patches) for run in found] == [
        (run.loss, run.spent, run.patches) for run in ends(noise=0.004, seed=1)
    ]
    assert left_out == []


def test_incomplete_runs_are_named_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("name,params_trunk,images,loss,complete\na,10,10,1,yes\nb,10,10,0.5,no\nc,10,20,1,\n")
    found, left_out = read_runs(path)
    assert [run.name for run in found] == ["a", "c"]
    assert [one.name for one in left_out] == ["b seed 0"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"loss": "nan"}, r"runs\.csv, line 3: loss is nan.*remove the line"),
     ({"loss": "-1"}, "line 3: loss -1"), ({"images": "many"}, "line 3: images 'many' is no number"),
     ({"loss": ""}, "line 3: no value of loss"), ({"params_trunk": "1.5"}, "no whole number"),
     ({"error": "120"}, "line 3: error 120 must lie between 0 and 100")],
)  # fmt: skip
def test_bad_values_are_told_with_line_and_remedy(changed: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=words):
        read_runs(table(tmp_path / "runs.csv", **changed))


@pytest.mark.parametrize(
    ("text", "words"),
    [("params_trunk,images\n1,2\n", "column loss is missing"), ("", "is empty"),
     ("params_trunk,image,loss\n1,2,3\n", "no column is called 'image'.*images"),
     ("params_trunk,images,loss,loss\n1,2,3,3\n", "twice"),
     ("params_trunk,images,loss\n1,2\n", "line 2: 2 values for 3 columns"),
     ("params_trunk,images,loss,complete\n1,2,3,maybe\n", "neither yes nor no")],
)  # fmt: skip
def test_bad_tables_are_told(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=words):
        read_runs(path)


def test_two_runs_are_too_few_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("params_trunk,images,loss\n1000,20,1\n2000,20,0.9\n")
    with pytest.raises(UserError, match=r"runs\.csv: 2 complete runs of 2 sizes and 1 length"):
        fit_runs(path)


def test_everything_is_written_and_says_the_same(law: Law, tmp_path: Path) -> None:
    path = write_all(law, tmp_path / "law")
    assert read_law(path) == law
    page, text = (tmp_path / "law" / "law.html").read_text(), (tmp_path / "law" / "law.txt").read_text()
    for words in ("Loss over operations", "Loss over data", "Loss against the probe", "What the law leaves"):
        assert words in page
    assert "not established" not in text
    assert "parameters of the trunk, without the head" in text
    names = {file.name for file in (tmp_path / "law" / "figures").iterdir()}
    assert names == {"loss-over-operations.svg", "loss-over-data.svg", "loss-against-probe.svg", "residuals.svg"}


def test_words_say_that_the_law_does_not_reach(law: Law) -> None:
    near, far = law.optimum(5e13), law.optimum(1e21)
    assert near is not None
    assert far is not None
    assert "does not reach" not in optimum_text(near)
    assert "the law does not reach that far: this is 14 million times beyond" in optimum_text(far)
    assert "alpha  " in law_text(law)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (0.41234, "0.412"), (161234.0, "161,000"), (2.5e6, "2.5 million"), (1e21, "1e+21"), (12.0, "12")],
)
def test_numbers_in_words(value: float, words: str) -> None:
    assert short(value) == words


def test_a_study_gives_its_complete_runs_and_names_the_others(tmp_path: Path) -> None:
    study = small(seeds=[0])
    run_study(study, tmp_path / "study", only=["raster"], jobs=1)
    found = runs_of_study(tmp_path / "study")
    assert [(run.name, run.seed, run.images) for run in found.ends] == [("raster", 0, 24.0)]
    assert [one.name for one in found.left_out] == ["random seed 0"]
    run = found.ends[0]
    assert run.train_images == 5000 - 16
    assert run.patches == 24 * 16
    assert run.scored_per_image
    assert run.flops
    assert "28 x 28 px in patches of 7" in found.about
    with pytest.raises(UserError, match="neither a CSV file nor the folder of a study"):
        runs_of_study(tmp_path)
    assert set(NEEDED) == {"params_trunk", "images", "loss"}


def test_a_budget_is_planned_by_a_law(law: Law, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_all(law, tmp_path / "law")
    assert main(["plan", "--from-law", str(tmp_path / "law"), "--flops", "1e15"]) == 0
    assert "the law does not reach" in (said := capsys.readouterr().out)
    assert "N parameters of the trunk" in said
    assert main(["plan", "--from-law", str(tmp_path / "law"), "--flops", "5e13", "--json"]) == 0
    found, wanted = json.loads(capsys.readouterr().out), law.optimum(5e13)
    assert wanted is not None
    assert found["params"]["value"] == wanted.params.value
    assert found["reached"]
    assert main(["plan", "--from-law", str(tmp_path / "law")]) == 2
    assert "needs a budget" in capsys.readouterr().err
