"""Tensors computed with the authors' own code, every one of them.

Each check marks what it used; the last test proves that no tensor was left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from losses import loss_sum, patch_losses, predict, score, scored_count, targets
from nextpatch.model.aim import AIM
from nextpatch.model.attention import prefix_mask
from nextpatch.model.attentive import AttentiveClassifier
from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.mlp import HeadBlock
from nextpatch.model.layers import LayerNorm
from nextpatch.model.names import ORDERS
from nextpatch.model.weights import from_released, to_released
from nextpatch.objective.next_patch import scored_mask
from nextpatch.patches import patchify, sincos_positions

OUTPUTS = {"rtol": 1e-4, "atol": 1e-4}
LOSSES = {"rtol": 1e-5, "atol": 0.0}
EXACT = {"rtol": 0.0, "atol": 0.0}
POSITIONS = {"rtol": 0.0, "atol": 1e-6}
QKV = ("q_proj", "k_proj", "v_proj")
GRADIENTS = 1e-4  # norm of the difference over the norm
FLOAT64 = {"rtol": 1e-6, "atol": 1e-6}  # their position tables come from float32 arithmetic


class Golden:
    """One file, and which of its tensors were loaded or compared."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata()
        self.config = json.loads(metadata.get("config", "{}"))
        self.ln_eps = float(metadata.get("ln_eps", "nan"))
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.used.add(name)
        return self.tensors[name]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """All tensors under `prefix` but the position tables, which are compared and never loaded."""
        names = [name for name in self.tensors if name.startswith(prefix) and not name.endswith("pos_embed")]
        return {name.removeprefix(prefix): self[name] for name in names}

    def same(self, name: str, ours: Tensor, tolerance: dict[str, float]) -> None:
        torch.testing.assert_close(ours.detach(), self[name], **tolerance, msg=lambda text: f"{name}: {text}")


def pair(side: int | list[int]) -> tuple[int, int]:
    return (side, side) if isinstance(side, int) else (side[0], side[1])


def released(file: Golden) -> tuple[AIM, AttentiveClassifier]:
    """Our trunk and classifier with their weights, through the table of released names."""
    c = file.config
    model = AIM(ModelConfig(
        img_size=pair(c["img_size"]), patch_size=c["patch_size"], embed_dim=c["embed_dim"], depth=c["num_blocks"],
        num_heads=c["num_heads"], head_width=8, head_depth=1,
    ))  # fmt: skip
    head = AttentiveClassifier(c["embed_dim"], c["num_heads"], c["num_classes"], bias=False)
    state = from_released(file.group("state."))
    own = {name.removeprefix("attentive."): state.pop(name) for name in list(state) if name.startswith("attentive.")}
    head.load_state_dict(own)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.startswith("head.") for name in missing)  # the pixel head was never released
    return model.eval(), head.eval()


def probe_input(file: Golden, features: dict[str, Tensor]) -> Tensor:
    blocks = [features[name] for name in features if name.startswith("block_")]
    chosen = file.config["probe_layers"]
    used = blocks[-chosen:] if isinstance(chosen, int) else [blocks[i] for i in chosen]
    return torch.stack(used).mean(dim=0)


def mlaim_features_and_logits(file: Golden) -> None:
    model, head = released(file)
    images, prefix_len, embed = file["input"], file["prefix.lengths"], model.patch_embed
    patches = patchify(images, model.cfg.patch_size)
    file.same("patch_embed", embed.norm(embed.proj(patches)), OUTPUTS)
    file.same("pos_embed", embed.positions, POSITIONS)
    file.same("tokens", embed(patches), OUTPUTS)
    file.same("prefix.mask", torch.arange(model.cfg.num_patches) >= prefix_len[:, None], EXACT)
    for mode, start in (("bidirectional", ""), ("prefix", "prefix.")):
        found = model(images, mode, prefix_len, model.trunk.layer_names())
        for n in range(model.cfg.depth):
            file.same(f"{start}block.{n}", found[f"block_{n}"], OUTPUTS)
        file.same(f"{start}post_trunk_norm", found["post_trunk_norm"], OUTPUTS)
        file.same(f"{start}probe_input", probe_input(file, found), OUTPUTS)
        file.same(f"{start}logits", head(probe_input(file, found)), OUTPUTS)
    last = f"block_{model.cfg.depth - 1}"
    file.same("causal.block.last", model(images, "causal", layers=[last])[last], OUTPUTS)
    head.train()
    file.same("bn_train.logits", head(file["probe_input"]), OUTPUTS)
    file.same("bn_train.running_mean", head.bn.running_mean, OUTPUTS)
    file.same("bn_train.running_var", head.bn.running_var, OUTPUTS)


def mlaim_float64(file: Golden) -> None:
    model, head = (module.double() for module in released(file))
    found = model(file["input"].double(), layers=model.trunk.layer_names())
    file.same("block.last_f64", found[f"block_{model.cfg.depth - 1}"], FLOAT64)
    file.same("logits_f64", head(probe_input(file, found)), FLOAT64)


class HeadBlockOfTheirs(HeadBlock):
    """Their head's attention is the identity, so that norm_1 is added to the stream; ours has no such term."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.norm_1 = LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + self.norm_1(x))


def released_name(theirs: str) -> str:
    """A pre-training name in the released layout, before q, k and v are fused."""
    name = theirs.replace("preprocessor.blocks.0.", "preprocessor.")
    if not name.startswith("head."):
        return name
    ours = {"decoder_projection": "proj", "decoder_blocks": "blocks", "decoder_norm": "norm", "decoder_pred": "pred"}
    _, part, rest = name.replace("norm_2", "norm").split(".", 2)
    return f"pixel_head.{ours[part]}.{rest}"


def fuse(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """q, k and v of every block, in this order, as one matrix."""
    out = dict(state)
    for name in [name for name in state if ".q_proj." in name]:
        out[name.replace("q_proj", "qkv")] = torch.cat([out.pop(name.replace("q_proj", part)) for part in QKV])
    return out


def split(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `fuse`."""
    out = dict(state)
    for name in [name for name in state if ".qkv." in name]:
        out |= {name.replace("qkv", part): t for part, t in zip(QKV, out.pop(name).chunk(3), strict=True)}
    return out


def pretrained(file: Golden, target: str = "norm_pixels") -> AIM:
    c = file.config
    model = AIM(ModelConfig(
        img_size=pair(c["img"]), patch_size=c["patch"], embed_dim=c["dim"], depth=c["blocks"], num_heads=c["heads"],
        head_width=c["hdim"], head_depth=c["hblocks"], target=target,
    ))  # fmt: skip
    model.head.blocks = nn.ModuleList(HeadBlockOfTheirs(c["hdim"]) for _ in range(c["hblocks"]))
    for module in model.modules():
        if isinstance(module, LayerNorm):
            module.eps = file.ln_eps
    state = {released_name(name): t for name, t in file.group("state.").items()}
    model.load_state_dict(from_released(fuse(state)))
    return model


def l3m_inputs_and_targets(file: Golden) -> None:
    model = pretrained(file)
    cfg, prefix_len = model.cfg, file["prefix.lengths"]
    patches = patchify(file["input"], cfg.patch_size)
    file.same("patches", patches, EXACT)
    file.same("target", targets(patches, "norm_pixels"), OUTPUTS)
    file.same("tokens", model.patch_embed(patches), OUTPUTS)
    file.same("state.preprocessor.blocks.0.pos_embed", model.patch_embed.positions[None], POSITIONS)
    file.same("state.head.decoder_pos_embed", model.head.positions[None], POSITIONS)
    file.same("prefix.mask", torch.arange(cfg.num_patches) >= prefix_len[:, None], EXACT)
    file.same("attn_mask", prefix_mask(prefix_len, cfg.num_patches, torch.device("cpu"))[:, 0] == 0, EXACT)


def l3m_outputs_and_losses(file: Golden) -> None:
    model, images, prefix_len = pretrained(file), file["input"], file["prefix.lengths"]
    found = model(images, "prefix", prefix_len, model.trunk.layer_names())
    for n in range(model.cfg.depth):
        file.same(f"block.{n}", found[f"block_{n}"], OUTPUTS)
    file.same("trunk_out", found["post_trunk_norm"], OUTPUTS)
    predicted = predict(model, images, prefix_len)
    file.same("pred", predicted, OUTPUTS)
    file.same("full_attn.trunk_out", model(images)["post_trunk_norm"], OUTPUTS)
    file.same("full_attn.pred", predict(model, images, mode="bidirectional"), OUTPUTS)
    every = torch.ones_like(prefix_len)  # a prefix of one: every output is scored
    file.same("per_patch_loss", score(model, predicted, images, every), LOSSES)
    scored = file["per_patch_loss"] * scored_mask(prefix_len, model.cfg.num_patches)
    torch.testing.assert_close(patch_losses(model, images, prefix_len).detach(), scored, **LOSSES)


def l3m_loss_of_the_batch(file: Golden) -> None:
    images, prefix_len = file["input"], file["prefix.lengths"]
    for target, name in (("norm_pixels", "loss"), ("pixels", "loss_raw_pixels")):
        model = pretrained(file, target)
        count = scored_count(prefix_len, model.cfg.num_patches)
        file.same(name, loss_sum(model, images, prefix_len)[None] / count, LOSSES)
        file.same(name, patch_losses(model, images, prefix_len).sum()[None] / count, LOSSES)
    exact = loss_sum(pretrained(file).double(), images.double(), prefix_len) / count
    file.same("loss_f64", exact[None], FLOAT64)


def l3m_gradients(file: Golden) -> None:
    model, prefix_len = pretrained(file), file["prefix.lengths"]
    (loss_sum(model, file["input"], prefix_len) / scored_count(prefix_len, model.cfg.num_patches)).backward()
    ours = split(to_released({name: p.grad for name, p in model.named_parameters()}, model.cfg))
    for name, theirs in file.group("grad.").items():
        assert (ours[released_name(name)] - theirs).norm() <= GRADIENTS * theirs.norm(), name
    norms = file.group("gradnorm.")
    assert {released_name(name) for name in norms} == set(ours)
    for name, theirs in norms.items():
        norm = ours[released_name(name)].double().norm()
        assert abs(float(norm / theirs) - 1) <= GRADIENTS, name


def sincos(file: Golden) -> None:
    for name in file.tensors:
        _, grid, dim = name.split(".")
        rows, columns = map(int, grid.split("x"))
        file.same(name, sincos_positions((rows, columns), int(dim[1:])), POSITIONS)


def orders(file: Golden) -> None:
    """Spiral and checkerboard are theirs; of the other patterns, which the paper does not compare, it is said so."""
    for name, theirs in file.tensors.items():
        pattern, grid, way = name.split(".")
        rows, columns = map(int, grid.split("x"))
        if pattern in ("spiral", "checkerboard"):
            order = ORDERS[pattern]((rows, columns), 0)
            file.same(name, order if way == "perm" else order.argsort(), EXACT)
        else:
            assert pattern in ("fixed_random", "horizontal_raster", "reverse_horizontal_raster", "reverse_raster")
            assert torch.equal(file[name].sort().values, torch.arange(rows * columns)), theirs


MLAIM = [mlaim_features_and_logits, mlaim_float64]
L3M = [l3m_inputs_and_targets, l3m_outputs_and_losses, l3m_loss_of_the_batch, l3m_gradients]
CHECKS: dict[str, list[Callable[[Golden], None]]] = {
    **dict.fromkeys(("mlaim_a_square", "mlaim_b_nonsquare"), MLAIM),
    **dict.fromkeys(("l3m_a_square", "l3m_b_nonsquare"), L3M),
    "sincos_pos_embed": [sincos],
    "l3m_ar_patterns": [orders],
}


@pytest.mark.parametrize(("name", "check"), [(name, check) for name, checks in CHECKS.items() for check in checks])
def test_as_computed_by_the_authors_code(golden: Path, name: str, check: Callable[[Golden], None]) -> None:
    check(Golden(golden / f"{name}.safetensors"))


def test_no_tensor_is_left_out(golden: Path) -> None:
    files = {path.stem for path in golden.iterdir() if path.name.startswith(("mlaim_", "l3m_", "sincos_"))}
    assert files == set(CHECKS)
    for name, checks in CHECKS.items():
        file = Golden(golden / f"{name}.safetensors")
        for check in checks:
            check(file)
        assert set(file.tensors) - file.used == set(), name
