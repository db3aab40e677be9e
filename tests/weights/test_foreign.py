"""Models of other libraries behind the same interface: timm, transformers, torch.hub."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

import nextpatch
from nextpatch.weights import foreign
from nextpatch.weights.error import WeightsError
from nextpatch.weights.foreign import backbone_of

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
    with pytest.raises(WeightsError, match="no autoregressive image model"):
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
        ("timm:resnet18?random", "no transformer with blocks"),
        ("torchhub:entry", "names no entry"),
    ],
)
def test_what_is_not_there_says_so(spec: str, told: str) -> None:
    with pytest.raises(WeightsError, match=told):
        nextpatch.load(spec)


def test_a_transformers_model_leaves_its_class_token_out(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, image_size=64, patch_size=16
    )
    torch.manual_seed(0)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    backbone = nextpatch.load(f"hf:{tmp_path}")
    assert (backbone.about.dim, backbone.about.num_heads, backbone.about.img_size) == (32, 4, (64, 64))
    with torch.no_grad():
        found = backbone.features(IMAGES, ["block_0", "block_2"])
        hidden = backbone.trunk.model(pixel_values=IMAGES, output_hidden_states=True).hidden_states
    torch.testing.assert_close(found["block_0"], hidden[1][:, 1:])
    torch.testing.assert_close(found["block_2"], hidden[3][:, 1:])


HUB = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self): super().__init__(); self.f = nn.Linear(8, 8)
    def forward(self, x): return x + self.f(x)

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 8, 16, 16); self.patch_embed.patch_size = 16
        self.blocks = nn.ModuleList(Block() for _ in range(4)); self.num_heads = 2
    def get_intermediate_layers(self, x, n):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([torch.zeros(len(x), 1, 8), x], dim=1)
        found = []
        for block in self.blocks:
            x = block(x); found.append(x)
        return found[-n:]

def small(): return Model()
"""


def test_a_torch_hub_entry_is_a_backbone(tmp_path: Path) -> None:
    (tmp_path / "hubconf.py").write_text("dependencies = ['torch']\n" + HUB)
    backbone = nextpatch.load(f"torchhub:{tmp_path}:small", img_size=(64, 64))
    assert (backbone.about.num_patches, backbone.about.num_heads, len(backbone.blocks)) == (16, 2, 4)


def test_shapes_that_are_no_patch_features_are_named() -> None:
    model = torch.nn.Conv2d(3, 4, 8, 8)
    with pytest.raises(WeightsError, match="must give 'batch patches dim'"):
        backbone_of(model, lambda images: [model(images)], {"img_size": (64, 64)})
    assert foreign.knows("hf:google/vit")
