"""Whatever one flipped bit, a cut or an emptying makes of a file of a run: one line with the file, or right figures."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextpatch.cli import main
from nextpatch.core.errors import UserError
from nextpatch.runs.run import RunDir
from nextpatch.tasks.report.facts import read_facts

SMALL = ["--model", "nano", "--model.depth", "1", "--model.head-depth", "1", "--model.embed-dim", "16",
         "--model.num-heads", "2", "--model.head-width", "16", "--model.img-size", "16", "16", "--model.patch-size",
         "8", "--train.steps", "2", "--train.checkpoint-every", "1", "--train.precision", "fp32",
         "--data.workers", "0"]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a tiny model."""
    place = tmp_path_factory.mktemp("damage")
    rng = np.random.default_rng(0)
    (place / "photos").mkdir()
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(place / "photos" / f"{i}.png")
    assert main(["pretrain", "--data", str(place / "photos"), "--out", str(place / "run"), *SMALL]) == 0
    return place / "run"


def damages(path: Path, chance: random.Random, flips: int) -> Iterator[bytes]:
    """The file emptied, cut in two, and with single bits flipped."""
    data = path.read_bytes()
    yield b""
    yield data[: len(data) // 2]
    for _ in range(flips if data else 0):
        at = chance.randrange(8 * len(data))
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        yield bytes(changed)


def read_again(run: Path) -> list[str] | None:
    """What the run says and holds, as every verb reads it; None where it is refused."""
    try:
        opened = RunDir.open(run)
        weights = opened.checkpoint().tensors("model")
        facts = read_facts(run)
    except UserError as error:
        assert str(run) in str(error)  # noqa: PT017 - what is not a UserError must leave
        assert "\n" not in str(error)  # noqa: PT017
        return None
    sums = [f"{name} {tensor.double().sum():.6f}" for name, tensor in sorted(weights.items())]
    return [*sums, *(f"{entry.step}" for entry in facts.history.train)]


@pytest.mark.parametrize("name", ["recipe.toml", "metrics.jsonl", "env.json", "state.json", "manifest.json"])
def test_no_damage_of_a_table_ends_otherwise_than_told(name: str, whole: Path, tmp_path: Path):
    run = shutil.copytree(whole, tmp_path / "run", ignore=shutil.ignore_patterns("tensorboard"))
    path, expected = max(run.rglob(name)), read_again(run)
    before, chance = path.read_bytes(), random.Random(name)
    told = 0
    for data in damages(path, chance, 16):
        path.write_bytes(data)
        told += read_again(run) is None
    path.write_bytes(before)
    assert read_again(run) == expected
    assert told > 10 if name == "recipe.toml" else told == 0  # the rest is passed over, or an older checkpoint serves


def test_a_checkpoint_with_any_bit_flipped_is_never_the_one_that_is_read(whole: Path, tmp_path: Path):
    run = shutil.copytree(whole, tmp_path / "run", ignore=shutil.ignore_patterns("tensorboard"))
    for path in max((run / "checkpoints").iterdir()).iterdir():
        before = path.read_bytes()
        for data in damages(path, random.Random(path.name), 4):
            path.write_bytes(data)
            assert RunDir.open(run).checkpoint().step == 1
        path.write_bytes(before)
    assert RunDir.open(run).checkpoint().step == 2


@pytest.mark.parametrize("name", ["recipe.toml", "metrics.jsonl"])
def test_the_command_says_it_in_one_line(name: str, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = shutil.copytree(whole, tmp_path / "run")
    for data in damages(run / name, random.Random(0), 2):
        (run / name).write_bytes(data)
        capsys.readouterr()
        code, said = main(["report", str(run)]), capsys.readouterr().err
        assert code == 0 or (code == 2 and len(said.splitlines()) == 1 and name in said)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["report", "export", "embed", "resume"])
def test_no_verb_ends_in_a_traceback(
    verb: str, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    words = {
        "report": ["report", "run"], "export": ["export", "run", "--out", "out.safetensors"],
        "embed": ["embed", str(whole.parent / "photos"), "--weights", "run", "--out", "out.parquet"],
        "resume": ["pretrain", "--out", "run", "--resume"],
    }[verb]  # fmt: skip
    names = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and "events" not in path.name]
    for name in names:
        for data in damages(whole / name, random.Random(str(name)), 4):
            shutil.rmtree("run", ignore_errors=True)
            Path("out.parquet").unlink(missing_ok=True)
            shutil.copytree(whole, "run")
            (Path("run") / name).write_bytes(data)
            capsys.readouterr()
            code, said = main(words), capsys.readouterr().err
            assert code == 0 or (code == 2 and said.startswith("nextpatch: error: ")), (name, said)
