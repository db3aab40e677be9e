"""What an installed package holds: recipes, the demo's images and the pages' templates, wherever it is used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import nextpatch

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "nextpatch"


def test_every_file_that_is_no_code_is_listed_as_data_of_the_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    listed = {path for pattern in settings["package-data"]["nextpatch"] for path in PACKAGE.glob(pattern)}
    there = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert there == listed
    assert {"recipes/demo.toml", "demo/train.parquet", "demo/test.parquet", "demo/README.md"} <= {
        path.relative_to(PACKAGE).as_posix() for path in listed
    }


@pytest.mark.slow
def test_the_demo_runs_from_an_installed_wheel_in_another_folder(tmp_path):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    copy, place, here = tmp_path / "copy", tmp_path / "installed", tmp_path / "here"
    here.mkdir()
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):  # pip builds inside of what it is given
        shutil.copy(ROOT / name, copy)
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, copy], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 20e6
    subprocess.run([*pip, "install", "--no-deps", "--target", place, wheel], check=True)

    env = {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-m", "nextpatch"]
    run = [*program, "pretrain", "demo", "--train.steps", "2", "--data.val-images", "64", "--out", "x"]
    done = subprocess.run(run, cwd=here, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((here / "x" / "metrics.jsonl").read_text().splitlines()[0])
    assert (here / "x" / "report.html").stat().st_size
    assert str(place) not in (here / "x" / "recipe.toml").read_text()
    seen = subprocess.run([*program, "data", "inspect", "demo:test"], cwd=here, env=env, capture_output=True, text=True)
    assert "5,000" in seen.stdout, seen.stderr


def test_the_package_shows_what_it_offers_and_python_can_name_the_nearest_of_a_wrong_name():
    assert set(nextpatch.__all__) | {"__version__"} <= set(dir(nextpatch))
    assert not {"Any", "TYPE_CHECKING", "sys"} & set(dir(nextpatch))
    with pytest.raises(AttributeError, match="pretrian") as found:
        nextpatch.pretrian  # noqa: B018
    assert (found.value.name, found.value.obj) == ("pretrian", nextpatch)
