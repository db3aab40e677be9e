"""One function for weights from anywhere: the released forms, our own, and what is none."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import nextpatch
from losses import predict
from nextpatch.model.aim import AIM
from nextpatch.model.config import SIZES, ModelConfig
from nextpatch.model.count import count_params
from nextpatch.model.weights import from_released, to_released
from nextpatch.weights.assemble import LoadOptions, of_released_names
from nextpatch.weights.error import WeightsError
from nextpatch.weights.pixel_head import save_pixel_head, with_pixel_head
from nextpatch.weights.released import BEST_BY_WIDTH, MODELS, SHA256
from nextpatch.weights.snapshot import save_snapshot
from weights_layout import CONFIG, state_of, write_pair, write_snapshot

IMAGES = torch.randn(3, 3, 28, 28, generator=torch.Generator().manual_seed(1))


def logits(weights: str | Path, **options: Any) -> torch.Tensor:
    with torch.no_grad():
        return nextpatch.load(weights, **options)(IMAGES)


def test_all_forms_of_the_same_weights_give_the_same_logits(snapshot: Path, tmp_path: Path) -> None:
    wanted = logits(snapshot)
    assert wanted.shape == (3, 5)
    old = tmp_path / "old"
    old.mkdir()
    (old / "config.json").write_text(json.dumps({"config": CONFIG}))
    torch.save(state_of(CONFIG), old / "pytorch_model.bin")
    assert torch.equal(logits(old), wanted)
    torch.save({"state_dict": state_of(CONFIG)}, tmp_path / "whole.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match="how many attention heads"):
        nextpatch.load(tmp_path / "whole.pth")


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.hub)
def test_the_released_sizes_have_these_names_and_shapes(model) -> None:
    shape = SIZES[model.size]
    config = {
        **CONFIG, "embed_dim": shape.embed_dim, "num_blocks": shape.depth, "num_heads": shape.num_heads,
        "num_classes": 1000, "img_size": 224,
    }  # fmt: skip
    theirs = state_of(config, device="meta")
    with torch.device("meta"):
        ours = AIM(ModelConfig(model.size), pixel_head=False)
    names = to_released(ours.state_dict(), ours.cfg)
    assert {k: t.shape for k, t in theirs.items() if not k.startswith("head.")} == {
        k: t.shape for k, t in names.items()
    }
    params = count_params(ours.cfg)
    counted = sum(t.numel() for k, t in theirs.items() if not k.startswith("head."))
    assert counted == params.trunk + params.patch_embed
    found = of_released_names(theirs, {}, model.hub, LoadOptions())  # heads, grid and size read off the shapes
    assert found.aim.cfg.shape == ModelConfig(model.size).shape
    assert found.aim.cfg.img_size == (224, 224)
    assert found.about.layers == tuple(f"block_{i}" for i in range(shape.depth - 6, shape.depth))
    assert found.classes[:2] == ("tench", "goldfish")
    best = of_released_names(theirs, {"probe_layers": list(model.best)}, model.hub, LoadOptions())
    assert best.about.layers == tuple(f"block_{i}" for i in model.best)


def test_a_head_alone_asks_for_its_backbone(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, state_of(CONFIG), "head_last_layers")
    with pytest.raises(WeightsError, match="not an AIM v1 model"):
        nextpatch.load(pair.split("+")[1])


def test_a_pair_of_pth_files_is_one_model(tmp_path: Path) -> None:
    config = {**CONFIG, "embed_dim": 128, "num_heads": 2, "probe_layers": 6}  # of our nano: heads are known
    state = state_of(config)
    wanted = logits(write_snapshot(tmp_path / "snapshot", state, config))
    pair = write_pair(tmp_path / "pair", state, "head_last_layers")
    assert torch.equal(logits(pair, img_size=(28, 28)), wanted)
    with pytest.raises(WeightsError, match="not known for this width"):
        nextpatch.load(write_pair(tmp_path / "pair", state, "head_best_layers"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BEST_BY_WIDTH, 128, (1, 2))  # as if this width had been released
        best = nextpatch.load(write_pair(tmp_path / "pair", state, "aim_head_best_layers"), img_size=(28, 28))
    assert best.about.layers == ("block_1", "block_2")
    assert not torch.equal(best(IMAGES), wanted)
    alone = nextpatch.load(tmp_path / "pair" / "backbone.pth", img_size=(28, 28))
    assert alone.classifier is None
    with pytest.raises(WeightsError, match="has no classifier"):
        alone(IMAGES)
    with pytest.raises(WeightsError, match="once more"):
        nextpatch.load(f"{tmp_path}/pair/backbone.pth+{tmp_path}/pair/backbone.pth")


def test_the_golden_models_load_and_agree(golden: Path, tmp_path: Path) -> None:
    for name in ("mlaim_a_square", "mlaim_b_nonsquare"):
        with safe_open(golden / f"{name}.safetensors", "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            config = json.loads(file.metadata()["config"])
        state = {key.removeprefix("state."): t for key, t in tensors.items() if key.startswith("state.")}
        model = nextpatch.load(write_snapshot(tmp_path / name, state, config))
        with torch.no_grad():
            torch.testing.assert_close(model.read(tensors["input"]), tensors["probe_input"], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(model(tensors["input"]), tensors["logits"], rtol=1e-4, atol=1e-4)
        save_snapshot(model, tmp_path / f"{name}_again")
        again = nextpatch.load(tmp_path / f"{name}_again")
        assert again.digest() == model.digest()
        with safe_open(tmp_path / f"{name}_again" / "model.safetensors", "pt") as file:
            assert all(torch.equal(file.get_tensor(key), tensor) for key, tensor in state.items())
            assert set(file.keys()) == set(state)
        written = json.loads((tmp_path / f"{name}_again" / "config.json").read_text())
        probed = config.pop("probe_layers")
        blocks = list(range(config["num_blocks"]))
        assert written.pop("probe_layers") == (blocks[-probed:] if isinstance(probed, int) else probed)
        assert written == {**config, "num_channels": 3}


def test_layers_and_image_size_can_be_asked_for(snapshot: Path) -> None:
    assert nextpatch.load(snapshot).about.layers == ("block_3", "block_4")
    assert nextpatch.load(snapshot, layers="best").classifier is not None
    other = nextpatch.load(snapshot, layers="last")
    assert other.about.layers == tuple(f"block_{i}" for i in range(2, 8))
    assert other.classifier is None  # it reads other layers
    assert nextpatch.load(snapshot, layers="1,3").about.layers == ("block_1", "block_3")
    large = nextpatch.load(snapshot, img_size=(42, 56))
    assert large.read(torch.randn(1, 3, 42, 56)).shape == (1, 12, 32)
    with pytest.raises(ValueError, match="blocks 0 to 7"):
        nextpatch.load(snapshot, layers="8")


def test_early_exit_computes_nothing_behind_the_last_layer(snapshot: Path) -> None:
    model = nextpatch.load(snapshot)
    ran = []
    for i, block in enumerate(model.aim.trunk.blocks):
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
    model(IMAGES)
    assert ran == [0, 1, 2, 3, 4]


def test_a_pixel_head_is_small_and_goes_beside(snapshot: Path, tmp_path: Path) -> None:
    model = nextpatch.load(snapshot)
    with pytest.raises(ValueError, match="fit-head"):
        predict(model.aim, IMAGES, torch.tensor([1, 2, 3]))
    donor = AIM(ModelConfig(img_size=(28, 28), patch_size=14, embed_dim=32, depth=8, num_heads=4, head_width=16,
                            head_depth=2, target="pixels"))  # fmt: skip
    donor.load_state_dict(model.aim.state_dict(), strict=False)
    save_pixel_head(tmp_path / "pixel_head.safetensors", donor)
    before = model.digest()
    both = nextpatch.load(f"{snapshot}+{tmp_path}/pixel_head.safetensors")
    assert both.aim.cfg.target == "pixels"
    assert predict(both.aim, IMAGES, torch.tensor([1, 2, 3])).shape == (3, 4, 588)
    assert torch.equal(both(IMAGES), model(IMAGES))
    assert model.digest() == before
    save_snapshot(both, tmp_path / "published")
    assert nextpatch.load(tmp_path / "published").digest() == both.digest()
    with pytest.raises(WeightsError, match="holds no pixel head"):
        with_pixel_head(model, snapshot / "model.safetensors")


class Evil:
    def __reduce__(self):
        return print, ("owned",)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda p: torch.save({"w": Evil()}, p / "x.pth"), "never loaded"),
        (lambda p: (p / "x.pth").write_bytes(pickle.dumps(Evil())), "never loaded"),
        (lambda p: (p / "x.pth").write_bytes(b""), "cannot be opened"),
        (lambda p: torch.save([torch.zeros(1)], p / "x.pth"), "holds no tensors by name"),
        (lambda p: torch.save({"encoder.w": torch.zeros(1)}, p / "x.pth"), "not an AIM v1 model"),
        (lambda p: None, "does not exist"),
    ],
)
def test_what_is_no_model_says_so(make, told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make(tmp_path)
    with pytest.raises(WeightsError, match=told):
        nextpatch.load(tmp_path / "x.pth")
    assert "owned" not in capfd.readouterr().out


def test_damage_and_gaps_are_named(snapshot: Path, tmp_path: Path) -> None:
    state = state_of(CONFIG)
    (snapshot / "model.safetensors").write_bytes((snapshot / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        nextpatch.load(snapshot)
    del state["trunk.blocks.2.attn.qkv.weight"]
    with pytest.raises(WeightsError, match=r"lacks trunk.blocks.2.attn.qkv.weight"):
        nextpatch.load(write_snapshot(tmp_path / "gap", state, CONFIG))
    with pytest.raises(WeightsError, match="neither a run"):
        nextpatch.load(tmp_path)
    with pytest.raises(WeightsError, match="name apple/aim-600M"):
        nextpatch.load("")


def test_a_folder_around_the_weights_says_where_they_are(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "model", state_of(CONFIG), CONFIG)
    with pytest.raises(WeightsError, match=r"its weights are .*model: give that"):
        nextpatch.load(tmp_path)


def test_published_digests_are_of_all_twelve_files() -> None:
    assert len(SHA256) == 12
    assert all(len(digits) == 8 and int(digits, 16) >= 0 for digits in SHA256.values())
    assert SHA256["aim_7b_5bimgs_attnprobe_head_best_layers.pth"] == "73ecd732"


MAPPED = """
import sys, nextpatch
model = nextpatch.load(sys.argv[1])
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
print(peak, sum(t.numel() * t.element_size() for t in model.state_dict().values()), model.aim.cfg.shape.depth)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's; ru_maxrss begins with what the parent had")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["large", "7b"])
def test_a_large_file_is_looked_at_and_not_kept_in_memory(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is as long as the real one, 1.2 or 26 GB, but has no blocks on the disk; every value is looked at."""
    shape = SIZES[name]
    config = {**CONFIG, "embed_dim": shape.embed_dim, "num_blocks": shape.depth, "num_heads": shape.num_heads}
    state, header, end = state_of({**config, "num_classes": 1000}, device="meta"), {}, 0
    for key, tensor in state.items():
        kind, size = ("I64", 8) if tensor.dtype == torch.int64 else ("F32", 4)
        header[key] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [end, end + tensor.numel() * size]}
        end += tensor.numel() * size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    (tmp_path / "config.json").write_text(json.dumps({**config, "img_size": 224, "num_classes": 1000}))
    done = subprocess.run([sys.executable, "-c", MAPPED, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    peak, held, depth = map(int, done.stdout.split())
    assert depth == shape.depth
    assert held > {"large": 1.2e9, "7b": 25e9}[name]
    assert peak < 0.9e9  # of which 0.5 are the libraries
    with capsys.disabled():
        print(f"[{name} layout: {held / 1e9:.1f} GB of tensors, peak {peak / 1e9:.2f} GB] ", end="")


def test_from_released_is_the_inverse() -> None:
    state = state_of(CONFIG)
    cfg = ModelConfig(img_size=(28, 28), patch_size=14, embed_dim=32, depth=8, num_heads=4)
    again = to_released(from_released(state), cfg)
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())


def test_a_misspelled_run_is_not_looked_for_on_the_hub(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    snapshot.rename(tmp_path / "runs" / "photos")
    with pytest.raises(WeightsError, match=r"did you mean runs/photos\?.*hub:runs/photo"):
        nextpatch.load("runs/photo")
