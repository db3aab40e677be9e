"""Every verb that writes holds its output: a second process is told who has it, and nothing is written."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from labeled import write_labeled
from nextpatch.cli import main
from nextpatch.cli.command import VERBS
from nextpatch.cli.flags import arguments
from nextpatch.cli.verb import Group
from nextpatch.core.writer import lock_of
from nextpatch.data.config import DataConfig
from nextpatch.dist.launch import LAUNCHED
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.runs.checkpoint import save_checkpoint
from nextpatch.runs.config import TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir

WRITING = {  # words of the verb -> what it holds: a folder, or a file
    "pretrain --data {data} --model nano --train.steps 1 --out {out}": "",
    "fit-head --weights {run} --data {data} --steps 1 --out {out}": "",
    "probe {run} --data {data} --out {out}": "",
    "probe {run} --data {data}": "{run}/probe.json",
    "bench --weights {run} --out {out} --only cifar10": "",
    "finetune --weights {run} --data {data} --out {out}": "",
    "embed {data} --weights {run} --out {out}": "",
    "embed {data} --weights {run} --out {out}.npy": "{out}.npy",
    "similar {data}/cat/0.png --index {data} --out {out}.png": "{out}.png",
    "sample {run} --out {out}": "",
    "complete {run} {data}/cat/0.png --out {out}": "",
    "inpaint {run} {data}/cat/0.png --box 0,0,4,4 --out {out}": "",
    "upscale {run} {data}/cat/0.png --out {out}": "",
    "law fit {study} --out {out}": "",
    "evaluate-samples {data} --real {data} --out {out}": "",
    "density {run} {data} --out {out}.json": "{out}.json",
    "compress {run} {data} --out {out}.small": "{out}.small",
    "decompress {run} {out}.small --out {out}": "",
    "report {run}": "{run}/report.html",
    "export {run}": "{run}/model.safetensors",
    "export {run} --to released --out {out}": "",
    "export {run} --to onnx": "{run}/model.onnx",
    "export {run} --to hub --repo me/it --out {out}": "",
    "data pack {data} --out {out}": "",
    "data preview {data} --out {out}.png": "{out}.png",
    "data inspect {data} --json {out}.json": "{out}.json",
    "study {study} --out {out}": "",
    "tokenizer fit {data} --out {out}.safetensors": "{out}.safetensors",
    "tokenizer show {out}.safetensors --out {out}.png": "{out}.png",
    "tokenizer apply {out}.safetensors {data} --out {out}.parquet": "{out}.parquet",
    "data inspect {data} --bad {out}.jsonl": "{out}.jsonl",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("places")
    data = write_labeled(place / "data", 6, 0)
    model = ModelConfig("nano", (8, 8), 4, 3, embed_dim=16, depth=1, num_heads=2, head_width=16, head_depth=1)
    recipe = Recipe(
        model,
        DataConfig((str(data),), val_images=2),
        train=TrainConfig(2, global_batch_size=2, micro_batch_size=2, precision="fp32", device="cpu"),
    )
    run = RunDir.create(place / "run", recipe).path
    aim = AIM(model)
    init_weights(aim, 0)
    save_checkpoint(run / "checkpoints", 1, {"model": aim.state_dict()}, {"step": 1})
    study = place / "study.toml"
    study.write_text(
        f'title = "one"\nseeds = [0]\n[recipe.data]\ntrain = ["{data}"]\n[recipe.train]\nsteps = 1\n[variants.a]\n'
    )
    return {"data": data, "run": run, "out": place / "out", "study": study}


@pytest.mark.parametrize(("words", "held"), WRITING.items())
def test_an_output_that_another_process_writes_is_refused(
    places: dict[str, Path], words: str, held: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nextpatch.core.locks.fcntl", None)  # without the system's locks, the living hold theirs
    lock = lock_of(Path((held or "{out}").format(**places)), file=bool(held))
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getppid(), "start": 0, "verb": "embed"}))
    there = {path: path.stat().st_mtime_ns for path in lock.parent.rglob("*") if path.is_file()}
    try:
        assert main([word.format(**places) for word in words.split()]) == 2
        assert f"is being written by nextpatch embed, process {os.getppid()}" in capsys.readouterr().err
        assert there == {path: path.stat().st_mtime_ns for path in lock.parent.rglob("*") if path.is_file()}
    finally:
        lock.unlink()


def test_the_table_above_has_every_verb_that_takes_an_output() -> None:
    verbs = {name: verb for name, verb in VERBS.items() if not isinstance(verb, Group)}
    for group, inside in VERBS.items():
        if isinstance(inside, Group):
            verbs |= {f"{group} {name}": verb for name, verb in inside.verbs.items()}
    flags = {
        name: {flag.rpartition("__")[2] for flag in arguments(verb.arguments).__annotations__}
        for name, verb in verbs.items()
    }
    writing = {name for name, given in flags.items() if {"out", "json", "bad"} & given}
    tried = {name for name in verbs if any(words.startswith(f"{name} ") for words in WRITING)}
    assert writing - {"plan", "classify"} <= tried  # whose --json prints


@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize("words", ["export {run} --out {out}.onnx --to onnx", "data pack {data} --out {out}"])
def test_the_work_of_one_process_is_refused_to_many(
    places: dict[str, Path], words: str, rank: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in LAUNCHED:
        monkeypatch.setenv(name, "2" if name.endswith("SIZE") else rank)
    assert main([word.format(**places) for word in words.split()]) == 2
    said = capsys.readouterr().err
    assert ("runs in a single process; start it without torchrun" in said) == (rank == "0")
    assert bool(said) == (rank == "0")
