"""Whatever the bytes of a weights file are, it loads as it was written or a WeightsError says what is wrong with it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import nextpatch
from nextpatch.core.errors import UserError
from nextpatch.core.tensors import save_safetensors
from nextpatch.weights.backbone import ModelInfo
from nextpatch.weights.classifier import read_classifier_head, save_classifier_head
from nextpatch.weights.error import WeightsError
from nextpatch.weights.load import load
from nextpatch.weights.pixel_head import save_pixel_head, with_pixel_head
from nextpatch.weights.snapshot import save_snapshot
from nextpatch.weights.tensors import read_tensors
from weights_layout import CONFIG, state_of, write_snapshot

IMAGES = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(1))
SMALL = {**CONFIG, "embed_dim": 8, "num_blocks": 2, "num_heads": 2, "probe_layers": [0, 1], "num_classes": 3}


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A small snapshot as this package writes it, with a probe and a pixel head beside it."""
    theirs = write_snapshot(tmp_path / "theirs", state_of(SMALL), SMALL)
    model = nextpatch.load(theirs)
    save_snapshot(model, tmp_path / "ours")
    from nextpatch.weights.classifier import ClassifierHead

    assert model.classifier is not None
    save_classifier_head(
        tmp_path / "probe.safetensors", ClassifierHead(model.classifier, model.about.layers, ("a", "b", "ü"))
    )
    return tmp_path / "ours"


@pytest.mark.parametrize("name", ["ours/model.safetensors", "probe.safetensors"])
def test_no_flipped_bit_of_our_files_passes(name: str, ours: Path, tmp_path: Path) -> None:
    path, rng = tmp_path / name, random.Random(0)
    whole = path.read_bytes()
    read: Callable[[], Any] = partial(read_classifier_head, path) if "probe" in name else partial(nextpatch.load, ours)
    read()
    for _ in range(60):
        at = rng.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
        with pytest.raises(WeightsError):
            read()


def test_no_flipped_bit_of_a_pixel_head_passes(tmp_path: Path) -> None:
    from nextpatch.model.aim import AIM
    from nextpatch.model.config import ModelConfig

    state = state_of(SMALL)
    model = nextpatch.load(write_snapshot(tmp_path / "theirs", state, SMALL))
    donor = AIM(ModelConfig("nano", (28, 28), 14, 3, 8, 2, 2, 8, 1))
    donor.load_state_dict(model.aim.state_dict(), strict=False)
    path, rng = tmp_path / "pixel_head.safetensors", random.Random(0)
    save_pixel_head(path, donor)
    with_pixel_head(nextpatch.load(tmp_path / "theirs"), path)
    whole = path.read_bytes()
    for _ in range(30):
        at = rng.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(WeightsError):
            with_pixel_head(nextpatch.load(tmp_path / "theirs"), path)
    donor.trunk.post_trunk_norm.bias.data.add_(1.0)
    save_pixel_head(path, donor)
    with pytest.raises(WeightsError, match="fitted to other weights"):
        with_pixel_head(nextpatch.load(tmp_path / "theirs"), path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, -1e13])
@pytest.mark.parametrize("ending", ["safetensors", "pth", "bf16"])
def test_a_number_that_is_not_finite_is_named(value: float, ending: str, tmp_path: Path) -> None:
    state, name = state_of(SMALL), "trunk.blocks.1.mlp.fc1.weight"
    state[name][3, 5] = value
    folder = write_snapshot(tmp_path / "x", state, SMALL)
    if ending == "pth":
        (folder / "model.safetensors").unlink()
        torch.save(state, folder / "pytorch_model.bin")
    if ending == "bf16":
        save_file({k: t.bfloat16() for k, t in state.items()}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=rf"{name} holds numbers"):
        nextpatch.load(folder)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_every_float_compute_in_float32(kind: torch.dtype, tmp_path: Path) -> None:
    state = state_of(SMALL)
    wanted = nextpatch.load(write_snapshot(tmp_path / "x", state, SMALL))(IMAGES)
    half = {name: tensor.to(kind) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    model = nextpatch.load(write_snapshot(tmp_path / "half", half, SMALL))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model(IMAGES), wanted, rtol=0.1, atol=0.05)
    mixed = {**state, "trunk.blocks.0.mlp.fc1.weight": half["trunk.blocks.0.mlp.fc1.weight"]}
    assert nextpatch.load(write_snapshot(tmp_path / "mixed", mixed, SMALL))(IMAGES).dtype == torch.float32


@pytest.mark.parametrize(
    "change",
    [
        {"img_size": 10**9}, {"img_size": [14]}, {"img_size": "big"}, {"img_size": None}, {"img_size": -14},
        {"num_heads": 10**9}, {"num_heads": -1}, {"num_heads": "x"}, {"num_heads": 3}, {"probe_layers": [99]},
        {"probe_layers": -1}, {"probe_layers": 10**9}, {"probe_layers": "all"}, {"probe_layers": [0.5]},
        {"mean": [0.5]}, {"mean": "x", "std": [1]}, {"mean": [0, 0, 0], "std": [1, 0, 1]}, {"std": [1, 1, 1]},
        {"mean": [0, 0, 0], "std": [1, float("nan"), 1]}, {"mean": [0, 0, 0], "std": [1, 1, -1]},
        {"classes": ["a"]}, {"classes": 3}, {"classes": [1, 2, 3]},
    ],
)  # fmt: skip
def test_absurd_values_in_a_config_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    folder = write_snapshot(tmp_path / "x", state_of(SMALL), SMALL)
    (folder / "config.json").write_text(json.dumps({**SMALL, **change}))
    with pytest.raises(UserError):
        nextpatch.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"embed_dim": 10**9}}, {"model": {"depth": 10**9}}, {"model": {"depth": 4000}},
        {"model": {"embed_dim": 2**16}}, {"model": {"in_chans": 10**9}}, {"model": {"in_chans": 4000}},
        {"model": {"img_size": [10**9, 14]}}, {"model": {"depth": None}},
        {"model": {"num_heads": 4096}}, {"model": []}, {"model": {"unknown": 1}}, {"layout": "theirs"},
        {"layers": ["block_99"]}, {"layers": ["post_trunk_norm"]}, {"layers": {}}, {"classes": ["a"]}, {"mean": [1]},
        {"mean": None}, {"std": [0, 0, 0]}, {"model": None}, {"layout": None},
    ],
)  # fmt: skip
def test_absurd_metadata_are_refused(change: dict[str, Any], ours: Path) -> None:
    path = ours / "model.safetensors"
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = file.metadata()
    for key, value in change.items():
        if key == "model" and isinstance(value, dict):
            value = {**json.loads(facts["model"]), **value}
        facts[key] = value if key == "layout" and isinstance(value, str) else json.dumps(value)
    if None in change.values():
        facts = {key: value for key, value in facts.items() if key not in change}
    if change == {"mean": None}:
        facts["mean"] = "[" * 100_000
    save_safetensors(path, tensors, facts)
    with pytest.raises(UserError, match="ours"):
        nextpatch.load(ours)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: p.write_text("this is text\n" * 9),
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(b"\xff" * 100),
        lambda p: p.write_bytes((2**60).to_bytes(8, "little") + b"{}"),
        lambda p: p.write_bytes((2).to_bytes(8, "little") + b"[]"),
        lambda p: p.write_bytes((10**5).to_bytes(8, "little") + b"[" * 10**5),
        lambda p: p.write_bytes((4).to_bytes(8, "little") + b"null"),
        lambda p: torch.save({"w": torch.zeros(1)}, p),
        lambda p: torch.save({"w": torch.zeros(1).expand(10**12)}, p),
        lambda p: torch.save({"w": torch.eye(3).to_sparse()}, p),
        lambda p: torch.save({"w": torch.zeros(3, device="meta")}, p),
        lambda p: torch.save({"state_dict": {1: torch.zeros(3)}}, p),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["x.safetensors", "x.pth", "\x1b[31mred\n.pth"])
def test_what_is_no_weights_file_says_so_without_colors(make: Any, name: str, tmp_path: Path) -> None:
    make(tmp_path / name)
    with pytest.raises(WeightsError) as told:
        nextpatch.load(tmp_path / name)
    assert str(told.value).isprintable()


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.5,) * 3, (0.0,) * 3), ((float("nan"),) * 3, (1.0,) * 3), ((0.5,), (0.5,)), ((0.0,) * 3, (float("inf"),) * 3)],
)  # fmt: skip
def test_images_are_normalized_by_sound_numbers_only(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(WeightsError, match="deviation"):
        ModelInfo("x", (28, 28), 3, mean, std, 8, 2, ("block_0",), 4)


def mutated(whole: bytes, rng: random.Random) -> bytes:
    """A file with a few changes, as disks, networks and enemies make them; mostly near its begin, where headers lie."""
    data = bytearray(whole)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(min(len(data), rng.choice((16, 64, 2048, len(data)))) or 1)
        match rng.randrange(7):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                data[at : at + 1] = bytes([data[at] ^ 1 << rng.randrange(8)]) if data else b""
            case 2:
                del data[at:]
            case 3:
                del data[at : at + rng.randrange(1, 64)]
            case 4:
                data[at:at] = rng.randbytes(rng.randrange(1, 32))
            case 5:
                data[at : at + 8] = rng.choice((0, 1, 2**31, 2**40, 2**63, 2**64 - 1)).to_bytes(8, "little")
            case _:
                digits = rng.choice((b"-1", b"99999999999", b"null", b"[]", b'""', b"1e400", b"{", b"true"))
                data[at : at + len(digits)] = digits
        if not data:
            break
    return bytes(data)


KINDS = [
    "ours/model.safetensors",
    "theirs/model.safetensors",
    "theirs/config.json",
    "probe.safetensors",
    "x.pth",
    "old.pth",
]


def fuzz(name: str, count: int, folder: Path, seed: int) -> tuple[int, int]:
    """(files that loaded, files that were refused) of `count`; anything but a UserError leaves."""
    path, rng = folder / name, random.Random(seed)
    if name.endswith(".pth"):
        torch.save(state_of(SMALL), path, _use_new_zipfile_serialization=name != "old.pth")
    whole, passed = path.read_bytes(), 0
    place = path if path.suffix == ".pth" else path.parent
    read: Callable[[Path], Any] = read_tensors if path.suffix == ".pth" else load
    read = read_classifier_head if name.startswith("probe") else read
    for _ in range(count):
        path.write_bytes(mutated(whole, rng))
        try:
            _ = read(path if name.startswith("probe") else place)
            passed += 1
        except UserError:
            pass
    return passed, count - passed


@pytest.mark.parametrize("name", KINDS)
def test_whatever_the_bytes_are_only_our_error_leaves(name: str, ours: Path, tmp_path: Path) -> None:
    fuzz(name, 60, tmp_path, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_whatever_the_bytes_are_only_our_error_leaves_often(
    name: str, ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passed, refused = fuzz(name, 2000, tmp_path, 1)
    with capsys.disabled():
        print(f"[{name}: 2,000 changed files, {refused:,} refused, {passed:,} loaded, nothing else] ", end="")
