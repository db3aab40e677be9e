"""Models of other libraries behind the same interface: timm, transformers, torch.hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch

import nextpatch
from nextpatch.data.config import IMAGENET_MEAN
from nextpatch.weights.error import WeightsError
from nextpatch.weights.foreign import backbone_of
from nextpatch.weights.names import knows

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_a_timm_model_gives_its_blocks_without_prefix_tokens() -> None:
    torch.manual_seed(0)
    backbone = nextpatch.load("timm:vit_tiny_patch16_224?random", img_size=(64, 64))
    about = backbone.about
    assert (about.dim, about.num_heads, about.num_patches, len(backbone.blocks)) == (192, 3, 16, 12)
    assert about.layers == ("block_11",)
    model = backbone.trunk.model
    with torch.no_grad():
        found = backbone.features(IMAGES, ["block_3"])["block_3"]
        wanted = model.forward_intermediates(IMAGES, indices=[3], output_fmt="NLC", intermediates_only=True)[0]
    torch.testing.assert_close(found, wanted)
    assert nextpatch.load("timm:vit_tiny_patch16_224?random", layers="2-4").about.layers == (
        "block_2", "block_3", "block_4",
    )  # fmt: skip
    with pytest.raises(WeightsError, match="not an autoregressive image model"):
        _ = backbone.aim


def test_generative_models_are_read_at_their_last_six_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    real = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda name, **o: real("vit_tiny_patch16_224", **{**o, "pretrained": False})
    )
    found = nextpatch.load("timm:vit_huge_patch14_224.mae")
    assert found.about.layers == tuple(f"block_{i}" for i in range(6, 12))


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("timm:no_such_model", "Unknown model"),
        ("timm:resnet18?random", "not a transformer with blocks"),
        ("torchhub:entry", "names no entry"),
    ],
)
def test_what_is_not_there_says_so(spec: str, told: str) -> None:
    with pytest.raises(WeightsError, match=told):
        nextpatch.load(spec)


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, image_size=64, patch_size=16
    )
    torch.manual_seed(0)
    transformers.ViTModel(config).save_pretrained(tmp_path / "small")
    return tmp_path / "small"


def test_a_transformers_model_leaves_its_class_token_out(vit: Path) -> None:
    backbone = nextpatch.load(f"hf:{vit}")
    assert (backbone.about.dim, backbone.about.num_heads, backbone.about.img_size) == (32, 4, (64, 64))
    with torch.no_grad():
        found = backbone.features(IMAGES, ["block_0", "block_2"])
        hidden = backbone.trunk.model(pixel_values=IMAGES, output_hidden_states=True).hidden_states
    torch.testing.assert_close(found["block_0"], hidden[1][:, 1:])
    torch.testing.assert_close(found["block_2"], hidden[3][:, 1:])


HUB = """
dependencies = ["timm"]
import timm, torch

class Dino(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.blocks, self.patch_embed = model, model.blocks, model.patch_embed
        self.num_heads = 3
        self.patch_embed.patch_size = 16
    def get_intermediate_layers(self, x, n):
        return self.model.get_intermediate_layers(x, n, return_prefix_tokens=False, norm=True)

def small():
    torch.manual_seed(0)
    return Dino(timm.create_model("vit_tiny_patch16_224", depth=3, img_size=64, num_classes=0)).half()
"""


def test_the_same_model_gives_the_same_features_by_every_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm, torch.hub (whose own call norms its outputs) and transformers, each with the same tensors."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    (tmp_path / "hubconf.py").write_text(HUB)
    by_hub = nextpatch.load(f"torchhub:{tmp_path}:small", img_size=(64, 64))
    assert (by_hub.about.num_patches, by_hub.about.num_heads, by_hub.blocks) == (
        16,
        3,
        ["block_0", "block_1", "block_2"],
    )
    state = by_hub.trunk.model.model.state_dict()
    make = timm.create_model

    def made(*_: object, **__: object) -> torch.nn.Module:
        model = make("vit_tiny_patch16_224", depth=3, img_size=64, num_classes=0)
        model.load_state_dict(state)
        return model.bfloat16().half()

    monkeypatch.setattr(timm, "create_model", made)
    by_timm = nextpatch.load("timm:vit_tiny_patch16_224?random", img_size=(64, 64))
    by_hub.trunk.model.load_state_dict(
        {f"model.{k}": v for k, v in by_timm.trunk.model.state_dict().items()}, strict=False
    )
    by_hf = nextpatch.load(f"hf:{as_transformers(by_timm.trunk.model.state_dict(), tmp_path / 'hf')}")
    with torch.no_grad():
        wanted = by_timm.features(IMAGES, by_timm.blocks)
        for other in (by_hub, by_hf):
            found = other.features(IMAGES, other.blocks)
            for block in by_timm.blocks:
                assert found[block].dtype == torch.float32
                torch.testing.assert_close(found[block], wanted[block], rtol=1e-4, atol=1e-4)


def as_transformers(state: dict[str, torch.Tensor], folder: Path) -> Path:
    """timm's tensors of a small ViT as a folder of transformers."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=192, num_hidden_layers=3, num_attention_heads=3, intermediate_size=768, image_size=64,
        patch_size=16, layer_norm_eps=1e-6,
    )  # fmt: skip
    model = transformers.ViTModel(config, add_pooling_layer=False)
    theirs, prefix = dict(state), "embeddings."
    given = {
        f"{prefix}cls_token": theirs["cls_token"], f"{prefix}position_embeddings": theirs["pos_embed"],
        "layernorm.weight": theirs["norm.weight"], "layernorm.bias": theirs["norm.bias"],
        **{f"{prefix}patch_embeddings.projection.{k}": theirs[f"patch_embed.proj.{k}"] for k in ("weight", "bias")},
    }  # fmt: skip
    parts = {
        "attention.o_proj": "attn.proj", "layernorm_before": "norm1", "layernorm_after": "norm2", "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    }  # fmt: skip
    for kind in ("weight", "bias"):
        for n in range(3):
            given |= {f"layers.{n}.{a}.{kind}": theirs[f"blocks.{n}.{b}.{kind}"] for a, b in parts.items()}
            for letter, part in zip("qkv", theirs[f"blocks.{n}.attn.qkv.{kind}"].chunk(3), strict=True):
                given[f"layers.{n}.attention.{letter}_proj.{kind}"] = part
    if "layers.0.attention.q_proj.weight" not in model.state_dict():
        pytest.skip("this version of transformers names the parts of a ViT otherwise")
    model.load_state_dict(given)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5] * 3, "size": {"height": 64, "width": 64}})
    )
    return folder


@pytest.mark.parametrize(
    ("file", "values", "told"),
    [
        ("config.json", {"quantization_config": {"quant_method": "x"}}, "names other code"),
        ("config.json", {"backbone": "me/other", "use_timm_backbone": True}, "names other code"),
        ("config.json", {"model_type": "timm_wrapper", "architecture": "hf-hub:me/x"}, "names other code"),
        ("config.json", {"hidden_size": 10**9}, "between 1 and 65,536"),
        ("config.json", {"num_hidden_layers": -1}, "between 1 and"),
        ("config.json", {"vision_config": {"image_size": [10**9, 3]}}, "between 1 and"),
        ("config.json", {"model_type": "evil", "auto_map": {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}}, ""),
        ("config.json", [], ""),
        ("adapter_config.json", {"base_model_name_or_path": "me/other"}, "adapter"),
        ("preprocessor_config.json", {"rescale_factor": 1 / 127.5}, "not scaled"),
        ("preprocessor_config.json", {"image_mean": "x"}, ""),
    ],
)  # fmt: skip
def test_what_a_transformers_folder_may_not_say(
    file: str, values: object, told: str, vit: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "vit"
    shutil.copytree(vit, folder)
    (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
    old = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps({**old, **values} if isinstance(values, dict) else values))
    with pytest.raises(WeightsError, match=told or "hf:"):
        nextpatch.load(f"hf:{folder}")
    assert not (tmp_path / "ran").exists()


def test_a_config_cannot_name_an_attention_kernel_of_the_hub(vit: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vit"
    shutil.copytree(vit, folder)
    old = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**old, "attn_implementation": "me/kernel"}))
    assert nextpatch.load(f"hf:{folder}").trunk.model.config._attn_implementation == "sdpa"


def test_a_transformers_model_has_its_own_statistics(vit: Path, caplog: pytest.LogCaptureFixture) -> None:
    (vit / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5] * 3, "do_rescale": True})
    )
    about = nextpatch.load(f"hf:{vit}").about
    assert (about.mean, about.std) == ((0.5, 0.4, 0.3), (0.5, 0.5, 0.5))
    (vit / "preprocessor_config.json").unlink()
    assert nextpatch.load(f"hf:{vit}").about.mean == IMAGENET_MEAN
    assert "no preprocessor_config.json" in caplog.text


def test_shapes_that_are_no_patch_features_are_named() -> None:
    model = torch.nn.Conv2d(3, 4, 8, 8)
    with pytest.raises(WeightsError, match="must give 'batch patches dim'"):
        backbone_of(model, lambda images: [model(images)], {"img_size": (64, 64)})
    assert knows("hf:google/vit")


@pytest.mark.parametrize(
    ("said", "ratio", "interpolation"),
    [
        ({"size": {"height": 64, "width": 64}, "resample": 2}, 1.0, "bilinear"),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True}, 0.875,
         "bicubic"),
        ({"size": {"shortest_edge": 64}, "crop_size": 64, "resample": 3}, 1.0, "bicubic"),
        ({"size": 64, "crop_pct": 0.9, "resample": 1}, 0.9, "bicubic"),
    ],
)  # fmt: skip
def test_a_transformers_model_has_its_own_view(vit: Path, said: dict[str, object], ratio: float, interpolation: str):
    (vit / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "ViTImageProcessor", **said}))
    view = nextpatch.load(f"hf:{vit}").about.preprocessing
    assert (view.crop_ratio, view.interpolation, view.keep_exact) == (ratio, interpolation, False)


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224?random", "hf"])
def test_a_size_that_is_no_multiple_of_the_patch_is_refused(vit: Path, name: str) -> None:
    with pytest.raises(WeightsError, match="height 40 is not a multiple of its patch size 16; use 32"):
        nextpatch.load(f"hf:{vit}" if name == "hf" else name, img_size=(40, 64))
