"""`nextpatch classify` as typed: the model's own classes, as a table or as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import nextpatch
from nextpatch.cli import main
from nextpatch.data.decode import decode
from nextpatch.data.views import eval_view


def test_json_has_the_likeliest_classes(photos: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = photos / "00.png"
    words = ["classify", str(image), str(photos / "deep"), str(photos / "bad.jpg"), "--weights", str(weights), "--json",
             "--top", "3", "--device", "cpu"]  # fmt: skip
    assert main(words) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == 1 + len(list((photos / "deep").iterdir()))
    assert "1 of 13 images skipped: 1 not an image" in err
    model = nextpatch.load(weights)
    with torch.no_grad():
        wanted = model(model.inputs(eval_view(decode(image.read_bytes(), 3), (28, 28))[None])).softmax(dim=1)[0].topk(3)
    assert [guess["number"] for guess in rows[0]["top"]] == wanted.indices.tolist()
    assert [guess["probability"] for guess in rows[0]["top"]] == pytest.approx(wanted.values.tolist(), abs=2e-2)


def test_a_table_names_the_classes(photos: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", str(photos / "00.png"), "--weights", str(weights), "--device", "cpu"]) == 0
    assert "%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere.jpg"], "nowhere.jpg does not exist"),
        (["{photos}/bad.jpg"], "no image of"),
        (["{photos}/00.png", "--layers", "1"], "has no classifier"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], told: str, photos: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.format(photos=photos) for word in words]
    assert main(["classify", *given, "--weights", str(weights), "--device", "cpu"]) == 2
    assert told in capsys.readouterr().err
