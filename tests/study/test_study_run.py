"""Whole studies of real trainings: by the command line, from Python, with codes as targets, with a failure."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nextpatch
from nextpatch.cli import main
from studies_made import SMALL

PAGE = Path(__file__).parents[2] / "docs" / "studies.md"


def commands() -> list[list[str]]:
    """The commands of the page, as they are typed."""
    lines = re.findall(r"^    (nextpatch .*)$", PAGE.read_text(encoding="utf-8"), re.M)
    return [shlex.split(line, comments=True)[1:] for line in lines]


def photos(folder: Path, count: int, seed: int = 0) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(folder / f"{number}.png")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_command_of_the_page_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (study,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    monkeypatch.chdir(tmp_path)
    small = study.replace("steps = 2000", "steps = 2\ndevice = 'cpu'").replace("seeds = [0, 1, 2]", "seeds = [0]")
    assert small != study
    Path("orders.toml").write_text(small)
    photos(Path("photos"), 24)
    for seed, name in enumerate(("cat", "dog"), 1):
        photos(Path("labeled") / name, 24, seed)
    for words in commands():
        if words[-1] == "--ray":  # tests/study/test_ray.py
            continue
        given = [str(next(iter(Path().glob(word)), word)) if "*" in word else word for word in words]
        assert main(given) == 0, words
    result = json.loads(Path("studies/orders/study.json").read_text())
    assert [variant["name"] for variant in result["variants"]] == ["raster", "spiral", "random"]
    assert {claim["verdict"] for claim in result["claims"]} == {"not established"}  # one seed
    for name in re.findall(r"^\| `([a-z.]+)`(?:, `([a-z.]+)`)*", PAGE.read_text(encoding="utf-8"), re.M)[:1]:
        assert (Path("studies/orders") / name[0]).exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_tokenizers_are_fitted_once_and_a_failed_run_is_named_and_tried_again(tmp_path: Path) -> None:
    study = {
        **SMALL, "seeds": [0], "claims": [], "tokenizers": {"km": {"codes": 8, "images": 64, "passes": 1}},
        "variants": {
            "pixels": {}, "codes": {"tokenizer": "km"}, "causal": {"tokenizer": "km", "model": {"attention": "causal"}},
            "wild": {"optim": {"lr": 1e6, "clip_norm": 1e18, "warmup_steps": 0}},
        },
    }  # fmt: skip
    for _ in range(2):
        found = nextpatch.run_study(study, tmp_path / "study", quiet=True)
        status = {variant.name: variant.runs[0].status for variant in found.variants}
        assert status == {"pixels": "done", "codes": "done", "causal": "done", "wild": "failed"}
    assert "not finite" in found.variants[3].runs[0].reason
    lines = [json.loads(line) for line in (tmp_path / "study" / "times.jsonl").read_text().splitlines()]
    begun = [line["run"].split("-")[0] for line in lines]
    assert {name: begun.count(name) for name in begun} == {
        "tokenizer": 1, "pixels": 1, "codes": 1, "causal": 1, "wild": 2,
    }  # fmt: skip
    digests = {
        json.loads(path.read_text())["tokenizer_sha256"] for path in (tmp_path / "study").glob("runs/*/tokenizer.json")
    }
    assert len(digests) == 1


def test_what_cannot_be_run_is_said_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.toml").write_text('title = "t"\n[variants.one]\nmodel.ordr = "random"\n')
    out = str(tmp_path / "out")
    for words, said in (
        (["study", str(tmp_path / "study.toml"), "--out", out], "no images to learn from"),
        (["study", "--show", out], "holds no study"),
        (["study", str(tmp_path / "study.toml")], "--out DIR"),
        (["study", str(tmp_path / "study.toml"), "--out", out, "--only", "on"], "did you mean 'one'"),
        (["study", str(tmp_path / "study.toml"), "--out", out, "--seeds", "7"], "no seed 7, only 0, 1, 2"),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err
    assert not Path(out).exists()
