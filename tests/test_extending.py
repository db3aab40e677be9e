"""Every example of the page on extending nextpatch is run, in order: the new file is one file, its use a few lines."""

from __future__ import annotations

import csv
import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
KINDS = [
    "A target",
    "A tokenizer",
    "An order",
    "A head",
    "An objective",
    "A source of data",
    "A benchmark",
    "A kind of probe",
]
KINDS += ["A metric sink"]


def sections() -> dict[str, tuple[str, str]]:
    """Of each heading the new file, whose first line names it, and the block that uses it."""
    parts = re.split(r"^## (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]
    found = {}
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        file, use = re.findall(r"```python\n(.*?)```", text, re.S)
        found[title] = (file, use)
    return found


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """All examples, run as one program in a folder of their own: (the folder, what was printed)."""
    folder = tmp_path_factory.mktemp("extending")
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    (folder / "digits.idx").write_bytes(struct.pack(">iiii", 2051, *digits.shape) + digits.tobytes())
    for split, count in (("train", 8), ("test", 4)):
        for label in range(3):
            place = folder / "benchmarks" / "shapes" / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 80, (28, 28), dtype=np.uint8) + 80 * label
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.png")
    program = []
    for title, (file, use) in sections().items():
        name = re.match(r"# (\w+\.py)\n", file)
        assert name, f"{title}: the first line names the file"
        (folder / name[1]).write_text(file)
        program.append(f'print("## {title}")\n{use}')
    (folder / "all.py").write_text("\n".join(program))
    done = subprocess.run([sys.executable, "all.py"], cwd=folder, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout


def test_the_page_shows_each_kind_once() -> None:
    assert list(sections()) == KINDS


def test_what_was_registered_is_what_ran(outcome: tuple[Path, str]) -> None:
    folder, printed = outcome
    parts = dict(zip(*[iter(re.split(r"^## (.+)\n", printed, flags=re.M)[1:])] * 2, strict=True))
    assert list(parts) == KINDS
    for title in ("A target", "An order", "A head", "An objective"):
        assert parts[title].count("holds") == 9, parts[title]
    assert parts["A tokenizer"].count("holds") == 11, parts["A tokenizer"]
    assert "16 codes (brightness)" in parts["A tokenizer"]
    for run, value in (("colour", 'target = "mean_colour"'), ("brightness", 'target = "tokens"'),
                       ("columns", 'order = "columns"'),
                       ("aimed", 'head = "aimed"'), ("ahead", 'objective = "two_ahead"'),
                       ("digits", "idx:digits.idx")):  # fmt: skip
        assert value in (folder / "runs" / run / "recipe.toml").read_text()
        losses = [json.loads(line) for line in (folder / "runs" / run / "metrics.jsonl").read_text().splitlines()]
        assert {entry["kind"] for entry in losses} == {"train", "val"}
    assert "Shapes" in (folder / "bench" / "bench.md").read_text()
    probed = json.loads((folder / "runs" / "colour" / "probe.json").read_text())
    assert {row["probe"] for row in probed["results"]} == {"class_mean", "knn"}
    rows = list(csv.reader((folder / "runs" / "csv" / "losses.csv").read_text().splitlines()))
    assert [row[1] for row in rows if row[0] == "train"] == ["1", "2", "3", "4"]
