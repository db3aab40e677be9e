"""Adapters and full fine-tuning: what learns, what does not, and that nothing is lost on the way."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors import safe_open

import nextpatch
from labeled import write_labeled
from nextpatch.cli import main
from nextpatch.config import ConfigError
from nextpatch.core.writer import LOCK, InUseError
from nextpatch.data.splits import open_splits
from nextpatch.dist.ranks import Ranks
from nextpatch.model.aim import AIM
from nextpatch.model.config import SIZES, ModelConfig
from nextpatch.model.count import count_params
from nextpatch.runs.checkpoint import newest_checkpoint, save_checkpoint
from nextpatch.runs.logs import entries_of
from nextpatch.tasks.finetune import run as runs
from nextpatch.tasks.finetune.config import FinetuneConfig
from nextpatch.tasks.finetune.learner import DivergedError, Finetuning
from nextpatch.tasks.finetune.lora import adapted, load_adapter, merged, trainable
from nextpatch.tasks.finetune.run import StoppedError, finetune, learner_of
from nextpatch.train.loop import fit
from nextpatch.train.saving import load_state
from nextpatch.train.step import BadStepError
from nextpatch.weights.backbone import Backbone
from ranks import run_ranks
from weights_layout import CONFIG, state_of, write_snapshot

IMAGES = torch.randn(3, 3, 28, 28, generator=torch.Generator().manual_seed(1))
FAST: dict[str, Any] = {"epochs": 3, "batch_size": 8, "device": "cpu", "precision": "fp32"}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_snapshot(tmp_path / "weights", state_of(CONFIG), CONFIG)


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write_labeled(tmp_path / "train", 14, 0)


def config(weights: Path, train: Path, out: Path, **changes: Any) -> FinetuneConfig:
    return FinetuneConfig(str(weights), str(train), out, **{**FAST, **changes})


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def features(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.features(IMAGES, ["block_7"])["block_7"]
        return found


def test_at_first_the_adapted_model_is_the_base_and_merging_gives_it_back(weights: Path) -> None:
    base = nextpatch.load(weights).aim
    wanted, state = features(base), {name: t.clone() for name, t in base.state_dict().items()}
    model = adapted(base, 8, 8)
    torch.testing.assert_close(features(base), wanted, rtol=1e-5, atol=1e-6)
    again = merged(model)
    assert again.state_dict().keys() == state.keys()
    assert all(torch.equal(t, state[name]) for name, t in again.state_dict().items())


def test_q_v_and_proj_learn_and_k_does_not(weights: Path) -> None:
    base = nextpatch.load(weights).aim
    before = {name: t.clone() for name, t in base.state_dict().items()}
    model = adapted(base, 4, 8)
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".lora_")[0].split("attn.")[-1] for name in names} == {"qkv.q", "qkv.v", "proj"}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):
        base.features(IMAGES, ["block_7"])["block_7"].square().mean().backward()
        optimizer.step()
    trained = features(base)
    after = merged(model)
    torch.testing.assert_close(features(after), trained, rtol=1e-5, atol=1e-5)
    for name, tensor in after.state_dict().items():
        if name.endswith("attn.qkv.weight"):
            (q, k, v), (q0, k0, v0) = tensor.chunk(3), before[name].chunk(3)
            assert torch.equal(k, k0)
            assert not torch.equal(q, q0)
            assert not torch.equal(v, v0)
        else:
            assert torch.equal(tensor, before[name]) != name.endswith("attn.proj.weight"), name


def test_a_thousandth_of_seven_billion_learns() -> None:
    with torch.device("meta"):
        model = adapted(AIM(ModelConfig("7b"), pixel_head=False), 8, 8)
    learned = trainable(model)[0]
    shape = SIZES["7b"]
    assert learned == shape.depth * 3 * 2 * 8 * shape.embed_dim
    assert round(100 * learned / count_params(ModelConfig("7b")).trunk, 1) == 0.1


@pytest.mark.parametrize("full", [False, True])
def test_it_learns_and_leaves_weights_that_can_be_used(
    weights: Path, train: Path, tmp_path: Path, full: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    out, test = tmp_path / "out", write_labeled(tmp_path / "test", 6, 1)
    words = ["finetune", "--weights", str(weights), "--data", str(train), "--test", str(test), "--out", str(out),
             "--epochs", "25", "--batch-size", "8", "--device", "cpu", "--precision", "fp32", "--no-augment",
             "--lr", "3e-3", "--mixup", "0.2"]  # fmt: skip
    assert main([*words, *(["--full"] if full else [])]) == 0
    shown = capsys.readouterr().out
    assert "parameters of the trunk" in shown
    assert "test accuracy" in shown
    values = json.loads((out / "finetune.json").read_text())
    assert values["test_top1"] > 50  # chance is 33
    assert values["trunk"] == count_params(nextpatch.load(weights).aim.cfg).trunk  # without adapters
    model = nextpatch.load(out / "model")
    assert model.classes == ("cat", "dog", "elk")
    assert model.about.layers == nextpatch.load(weights).about.layers
    changed = {
        n for n, t in model.aim.state_dict().items() if not torch.equal(t, nextpatch.load(weights).aim.state_dict()[n])
    }
    assert ("trunk.blocks.0.mlp.fc1.weight" in changed) == full
    assert (out / "adapter").exists() != full
    assert main(["classify", str(test / "cat"), "--weights", str(out / "model"), "--json", "--device", "cpu"]) == 0


def test_the_adapter_is_pefts_and_equals_the_merged_export(weights: Path, train: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finetune(config(weights, train, out), quiet())
    said = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert (said["peft_type"], said["r"], said["base_model_name_or_path"]) == ("LORA", 8, str(weights))
    with safe_open(out / "adapter" / "adapter_model.safetensors", "pt") as file:
        assert all("lora_A" in name or "lora_B" in name for name in file.keys())  # noqa: SIM118
    base = nextpatch.load(weights).aim
    loaded = load_adapter(base, out / "adapter")
    torch.testing.assert_close(features(base), features(nextpatch.load(out / "model").aim), rtol=1e-5, atol=1e-5)
    assert loaded is not None


class Killed(BaseException):
    """Stands for SIGKILL: nothing is saved on the way out."""


@contextmanager
def at_step(step: int, act: Callable[[], Any]) -> Iterator[None]:
    """`act` is called in the middle of a step, counted from 0."""
    real = Finetuning.accumulate

    def acting(self: Finetuning, batch: Any, count: int) -> Any:
        if batch[1] == step:
            act()
        return real(self, batch, count)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Finetuning, "accumulate", acting)
        yield


def killed() -> None:
    raise Killed


def asked_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def untimed(out: Path) -> list[dict[str, Any]]:
    times = {"elapsed_s", "images_per_s"}
    return [{k: v for k, v in entry.items() if k not in times} for entry in entries_of(out / "metrics.jsonl")]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Weights and labeled images."""
    place = tmp_path_factory.mktemp("given")
    return write_snapshot(place / "weights", state_of(CONFIG), CONFIG), write_labeled(place / "train", 14, 0)


@pytest.fixture(scope="module")
def whole(given: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What comes out where nothing interrupts."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    finetune(config(*given, out), quiet())
    return out


@pytest.mark.parametrize("ends", [[(9, killed)], [(6, asked_to_stop)], [(2, asked_to_stop), (5, killed), (9, killed)]])
def test_ended_at_any_step_and_resumed_it_is_the_same_to_the_last_bit(
    given: tuple[Path, Path], whole: Path, tmp_path: Path, ends: list[tuple[int, Callable[[], None]]],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    out = tmp_path / "cut"
    for number, (step, end) in enumerate(ends):
        with at_step(step, end), pytest.raises((Killed, StoppedError)) as raised:
            finetune(config(*given, out, resume=number > 0), quiet())
        if isinstance(raised.value, StoppedError):  # the step in which it came was finished, and saved
            assert raised.value.outcome.exit_code == 128 + signal.SIGTERM
            assert newest_step(out) == step + 1
    again = finetune(config(*given, out, resume=True), quiet())
    assert nextpatch.load(again.model).digest() == nextpatch.load(whole / "model").digest()
    assert untimed(out) == untimed(whole)
    assert "holds nothing" not in caplog.text


def newest_step(out: Path) -> int:
    found = newest_checkpoint(out / "checkpoints")
    assert found is not None
    return found.step


def test_it_goes_on_from_a_checkpoint_that_knows_only_step_and_time(
    given: tuple[Path, Path], whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "cut"
    with at_step(9, killed), pytest.raises(Killed):
        finetune(config(*given, out), quiet())
    with pytest.raises(ConfigError, match="add --resume to continue it"):
        finetune(config(*given, out), quiet())
    with pytest.raises(ConfigError, match="started with rank 8;"):
        finetune(config(*given, out, resume=True, rank=4), quiet())
    left = newest_checkpoint(out / "checkpoints")
    assert left is not None
    assert 0 < left.state["elapsed_s"] < 1000
    groups = {name: left.tensors(name) for name in ("model", "optimizer")}
    save_checkpoint(out / "checkpoints", left.step, groups, {"step": left.step, "elapsed_s": 1000.0})  # as they were
    again = finetune(config(*given, out, resume=True), quiet())
    assert json.loads((out / "finetune.json").read_text())["elapsed_s"] >= 1000  # of all sessions
    assert nextpatch.load(again.model).digest() == nextpatch.load(whole / "model").digest()
    assert [entry["images"] for entry in untimed(out)] == [entry["images"] for entry in untimed(whole)]


def by_ranks(weights: str, train: str, out: str, changes: dict[str, Any]) -> float:
    """A fine-tuning by as many processes as were started; its accuracy as this one knows it."""
    torch.set_num_threads(1)
    with Ranks.opened() as ranks:
        return finetune(config(Path(weights), Path(train), Path(out), **changes), quiet(), ranks).answers.top1


@pytest.mark.parametrize("changes", [{}, {"full": True, "micro_batch_size": 3, "mixup": 0.0, "batch_size": 7}])
def test_two_processes_come_to_what_one_does(given: tuple[Path, Path], tmp_path: Path, changes: dict[str, Any]) -> None:
    one = finetune(config(*given, tmp_path / "one", epochs=1, **changes), quiet())
    words = [str(path) for path in (*given, tmp_path / "two")]
    tops = run_ranks(by_ranks, 2, *words, {"epochs": 1, **changes})
    assert tops == [one.answers.top1] * 2
    ours, theirs = (nextpatch.load(tmp_path / name / "model").state_dict() for name in ("one", "two"))
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    for mine, other in zip(untimed(tmp_path / "one"), untimed(tmp_path / "two"), strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert mine["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)


def learner_on(weights: Path, train: Path, cfg: FinetuneConfig) -> Finetuning:
    return learner_of(cfg, nextpatch.load(weights), open_splits(str(train), "", 0, held_out=False))


def test_what_a_checkpoint_gives_stays_where_the_learner_is(given: tuple[Path, Path], tmp_path: Path) -> None:
    cfg = config(*given, tmp_path / "x", full=True, epochs=1)
    first, second = (learner_on(*given, cfg) for _ in range(2))
    cfg.out.mkdir()
    fit(first, first.task(), quiet())
    before = {name: t.data_ptr() for name, t in second.tensors()["model"].items()}
    load_state(cfg.out / "checkpoints", second)
    assert {name: t.data_ptr() for name, t in second.tensors()["model"].items()} == before
    for group, tensors in first.tensors().items():
        assert all(torch.equal(tensor, second.tensors()[group][name]) for name, tensor in tensors.items())


def test_micro_batches_change_nothing(weights: Path, train: Path, tmp_path: Path) -> None:
    digests = []
    for size in (3, 32):
        done = finetune(config(weights, train, tmp_path / str(size), micro_batch_size=size, epochs=1), quiet())
        digests.append(nextpatch.load(done.model))
    for (name, one), two in zip(digests[0].state_dict().items(), digests[1].state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4, msg=name)


def test_deeper_blocks_learn_faster(weights: Path, train: Path, tmp_path: Path) -> None:
    cfg = config(weights, train, tmp_path / "x", full=True, layer_decay=0.5)
    learner = learner_on(weights, train, cfg)
    names = {id(p): name for name, p in learner.model.named_parameters()}
    scale = {names[id(p)]: g["scale"] for g in learner.optimizer.param_groups for p in g["params"]}
    assert scale["trunk.trunk.blocks.7.attn.proj.weight"] == 1.0
    assert scale["trunk.trunk.blocks.6.attn.proj.weight"] == 0.5
    assert scale["trunk.patch_embed.proj.weight"] == 0.5**8
    assert scale["classifier.linear.weight"] == 1.0


def test_labels_of_the_test_choose_nothing(weights: Path, train: Path, tmp_path: Path) -> None:
    test = write_labeled(tmp_path / "test", 4, 1)
    one = finetune(config(weights, train, tmp_path / "one", test=str(test), epochs=1), quiet())
    (test / "cat").rename(test / "swap")
    (test / "dog").rename(test / "cat")
    (test / "swap").rename(test / "dog")
    two = finetune(config(weights, train, tmp_path / "two", test=str(test), epochs=1), quiet())
    assert nextpatch.load(one.model).digest() == nextpatch.load(two.model).digest()
    assert runs.RESULT in {path.name for path in (tmp_path / "one").iterdir()}


@pytest.mark.parametrize("changes", [{}, {"full": True}])
def test_training_to_infinity_is_an_error_and_no_model(
    changes: dict[str, Any], weights: Path, train: Path, tmp_path: Path
) -> None:
    with pytest.raises((DivergedError, BadStepError), match=r"lower --lr \(it is 1e\+06\)"):
        finetune(config(weights, train, tmp_path / "out", lr=1e6, weight_decay=1.0, **changes), quiet())
    assert not (tmp_path / "out" / "model").exists()
    for file in (tmp_path / "out").rglob("model*.safetensors"):
        with safe_open(file, "pt") as tensors:
            assert all(bool(tensors.get_tensor(name).isfinite().all()) for name in tensors.keys())  # noqa: SIM118


def test_a_step_that_is_not_finite_changes_no_weight(
    weights: Path, train: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = learner_on(weights, train, config(weights, train, tmp_path / "x", mixup=0.0))
    learner.cfg.out.mkdir()
    before = {name: t.clone() for name, t in learner.tensors()["model"].items() if ".bn." not in f".{name}"}
    with monkeypatch.context() as patch:
        patch.setattr(Backbone, "normalized", staticmethod(lambda images, *_: images.float() * float("nan")))
        with pytest.raises(BadStepError, match=r"step 1: loss nan.*elk/.*lower --lr"):
            fit(learner, learner.task(), quiet())
    assert all(torch.equal(learner.tensors()["model"][name], tensor) for name, tensor in before.items())
    learner.model.classifier.linear.bias.data[0] = float("inf")
    with pytest.raises(DivergedError, match=r"classifier\.linear\.bias"):
        learner.validate(lambda batches, rounds: iter(batches), lambda: False, False)


def test_too_few_images_are_refused_before_the_first_step(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Finetuning, "accumulate", lambda *_: pytest.fail("a step was taken"))
    with pytest.raises(ValueError, match="give at least 2 of each class"):
        finetune(config(weights, write_labeled(tmp_path / "one", 1, 0), tmp_path / "out"), quiet())


@pytest.fixture
def begun(weights: Path, train: Path, tmp_path: Path) -> FinetuneConfig:
    """A fine-tuning of one epoch, to be gone on with."""
    test = write_labeled(tmp_path / "test", 4, 1)
    cfg = config(weights, train, tmp_path / "out", test=str(test), epochs=1)
    finetune(cfg, quiet())
    return replace(cfg, resume=True)


def swap(train: Path, test: Path, weights: Path) -> None:
    """Images of one class under the names of another."""
    for old, new in (("cat", "swap"), ("dog", "cat"), ("swap", "dog")):
        (train / old).rename(train / new)


def replace_test(train: Path, test: Path, weights: Path) -> None:
    for path, other in zip(sorted((test / "elk").iterdir()), sorted((train / "elk").iterdir()), strict=False):
        path.write_bytes(other.read_bytes() + b"\0")


def other_weights(train: Path, test: Path, weights: Path) -> None:
    shutil.rmtree(weights)
    write_snapshot(weights, {name: t + 0.01 for name, t in state_of(CONFIG).items()}, CONFIG)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (swap, r"train does not hold the images that this was started with \(other: .*contents of images"),
        (replace_test, r"test does not hold the images"),
        (other_weights, "weights are not the weights that this was started with"),
    ],
)
def test_inputs_that_changed_behind_their_names_are_refused(begun: FinetuneConfig, change: Any, said: str) -> None:
    change(Path(begun.data), Path(begun.test), Path(begun.weights))
    with pytest.raises(ConfigError, match=said):
        finetune(begun, quiet())


def test_inputs_that_moved_are_the_same(begun: FinetuneConfig, tmp_path: Path) -> None:
    moved = {name: tmp_path / f"moved-{name}" for name in ("weights", "data", "test")}
    for name, path in moved.items():
        Path(getattr(begun, name)).rename(path)
    entries = (begun.out / "metrics.jsonl").read_text()
    finetune(replace(begun, **{name: str(path) for name, path in moved.items()}), quiet())
    with (begun.out / "metrics.jsonl").open("a") as file:
        file.write(entries.replace('"step": ', '"step": 9'))  # written after the last checkpoint by a killed session
    finetune(replace(begun, **{name: str(path) for name, path in moved.items()}), quiet())
    assert (begun.out / "metrics.jsonl").read_text() == entries


def test_a_half_begun_one_is_begun_and_a_second_writer_is_refused(weights: Path, train: Path, tmp_path: Path) -> None:
    cfg = config(weights, train, tmp_path / "out", epochs=1)
    cfg.out.mkdir()
    (cfg.out / ".config.json.unfinished").write_text('{"weigh')
    (cfg.out / LOCK).write_text('{"host": "gone", "pid')  # torn, of a dead process
    assert len(finetune(cfg, quiet()).answers.labels)
    lock = json.dumps({"host": socket.gethostname(), "pid": os.getppid(), "start": 0, "verb": "finetune"})
    (cfg.out / LOCK).write_text(lock)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nextpatch.core.locks.fcntl", None)  # as on a file system without locks: the living count
        with pytest.raises(InUseError, match=f"written by nextpatch finetune, process {os.getppid()}"):
            finetune(replace(cfg, resume=True), quiet())
