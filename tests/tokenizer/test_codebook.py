"""The public codebook: the released network under its own names, and what is made of an image before it."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, max_pool2d, relu
from torch.utils.flop_counter import FlopCounterMode

from nextpatch.core.errors import UserError
from nextpatch.tokenizer.artifact import Artifact, TokenizerFacts
from nextpatch.tokenizer.codebook import CodebookTokenizer
from nextpatch.tokenizer.dalle import CodebookSizes, DalleEncoder, empty_encoder, sizes_of
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.tokenizer.tokenizer import Tokenizer, tokenizer_of

SIZES = CodebookSizes(hidden=8, codes=32)
FACTS = TokenizerFacts(
    "codebook", 32, 14, 3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.2), {"channels": 3, "hidden": 8, "blocks": 2}
)


@cache
def _values(sizes: CodebookSizes) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(t.shape, generator=rng) * (2.0 / max(1, t[0].numel())) ** 0.5
        for name, t in empty_encoder(sizes).state_dict().items()
    }
    usual = logits(state, torch.rand(4, sizes.channels, 24, 24, generator=rng), sizes.blocks).mean((0, 2, 3))
    state["blocks.output.conv.bias"] -= usual  # so that the image decides, and not the code
    return state


def values(sizes: CodebookSizes = SIZES) -> dict[str, Tensor]:
    """Tensors whose likeliest code differs from cell to cell."""
    return dict(_values(sizes))


def made(facts: TokenizerFacts = FACTS, **tensors: Tensor) -> Artifact:
    patches = torch.randn(facts.codes, facts.patch_dim, generator=torch.Generator().manual_seed(1))
    shares = torch.full((facts.codes,), 1 / facts.codes)
    return Artifact(facts, {**values(), "patches": patches, "frequencies": shares, **tensors})


def images(count: int = 3, channels: int = 3) -> Tensor:
    return torch.randn(count, channels, 42, 28, generator=torch.Generator().manual_seed(2))


def logits(state: dict[str, Tensor], pixels: Tensor, blocks: int = 2) -> Tensor:
    """The published network, written out."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight = state[f"blocks.{name}.weight"]
        return conv2d(x, weight, state[f"blocks.{name}.bias"], padding=weight.shape[-1] // 2)

    x = conv("input", pixels)
    for group in range(1, 5):
        for block in range(1, blocks + 1):
            at = f"group_{group}.group.block_{block}"
            added = x
            for number in range(1, 5):
                added = conv(f"{at}.res_path.path.conv_{number}", relu(added))
            x = conv(f"{at}.id_path", x) if f"blocks.{at}.id_path.weight" in state else x
            x = x + added / (4 * blocks) ** 2
        x = max_pool2d(x, 2) if group < 4 else x
    return conv("output.conv", relu(x))


def encoder(sizes: CodebookSizes = SIZES) -> DalleEncoder:
    net = empty_encoder(sizes)
    net.load_state_dict(values(sizes), assign=True)
    return net


@pytest.mark.parametrize("sizes", [SIZES, CodebookSizes(1, 12, 1, 7)])
def test_the_network_is_the_published_one_written_out(sizes: CodebookSizes) -> None:
    pixels = torch.rand(2, sizes.channels, 24, 40)
    torch.testing.assert_close(encoder(sizes)(pixels), logits(values(sizes), pixels, sizes.blocks), atol=1e-5, rtol=0)


def test_the_network_is_that_of_transformers() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flava = pytest.importorskip(
            "transformers.models.flava.modeling_flava", reason="transformers is not installed", exc_type=ImportError
        )
        config = flava.FlavaImageCodebookConfig(hidden_size=SIZES.hidden, vocab_size=SIZES.codes)
        theirs = flava.FlavaImageCodebook(config).eval()
    theirs.load_state_dict(values())
    assert sizes_of(theirs.state_dict()) == SIZES
    pixels = torch.rand(2, 3, 32, 48)
    torch.testing.assert_close(encoder()(pixels), theirs(pixels), atol=1e-5, rtol=0)
    patches_of_eight = tokenizer_of(
        made(replace(FACTS, patch_size=8, mean=(0.0,) * 3, std=(1.0,) * 3), patches=torch.zeros(32, 192))
    )
    expected = theirs.get_codebook_indices(0.8 * pixels + 0.1).flatten(1)
    assert torch.equal(patches_of_eight.encode(pixels), expected)


def test_the_released_size_has_the_released_parameters() -> None:
    net = empty_encoder(CodebookSizes())
    shapes = {name: list(tensor.shape) for name, tensor in net.state_dict().items()}
    assert sum(p.numel() for p in net.parameters()) == 53_786_240
    assert len(shapes) == 74
    assert shapes["blocks.input.weight"] == [256, 3, 7, 7]
    assert shapes["blocks.group_2.group.block_1.id_path.weight"] == [512, 256, 1, 1]
    assert shapes["blocks.group_4.group.block_2.res_path.path.conv_4.weight"] == [2048, 512, 1, 1]
    assert shapes["blocks.output.conv.bias"] == [8192]
    assert sizes_of(net.state_dict()) == CodebookSizes()


@pytest.mark.parametrize("sizes", [CodebookSizes(), CodebookSizes(1, 12, 1, 7)])
def test_its_operations_are_those_that_torch_counts(sizes: CodebookSizes) -> None:
    with FlopCounterMode(display=False) as counted:
        empty_encoder(sizes)(torch.empty(1, sizes.channels, 16, 24, device="meta"))
    assert counted.get_total_flops() == 6 * empty_encoder(sizes).flops


def test_a_patch_becomes_a_cell_and_pixels_are_mapped() -> None:
    tokenizer, normalized = tokenizer_of(made()), images()
    assert isinstance(tokenizer, Tokenizer)
    assert not tokenizer.local
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (FACTS.mean, FACTS.std))
    cells = interpolate(normalized * std + mean, size=(24, 16), mode="bicubic", antialias=True).clamp(0, 1)
    expected = logits(values(), 0.8 * cells + 0.1).argmax(1).flatten(1)
    codes = tokenizer.encode(normalized)
    assert torch.equal(codes, expected)
    assert codes.shape == (3, 6)
    assert len(codes.unique()) > 2


def test_grey_images_are_given_all_three_colors() -> None:
    color = tokenizer_of(made(replace(FACTS, mean=(0.4,) * 3, std=(0.3,) * 3)))
    facts = replace(FACTS, in_chans=1, mean=(0.4,), std=(0.3,))
    grey, normalized = tokenizer_of(made(facts)), images(channels=1)
    assert torch.equal(grey.encode(normalized), color.encode(normalized.expand(-1, 3, -1, -1)))


def test_codes_depend_neither_on_the_batch_nor_on_the_precision_around() -> None:
    tokenizer, normalized = tokenizer_of(made()), images(19)
    together = tokenizer.encode(normalized)
    assert torch.equal(torch.cat([tokenizer.encode(one[None]) for one in normalized]), together)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(tokenizer.encode(normalized), together)
    assert torch.backends.cudnn.allow_tf32


def test_codes_are_shown_as_the_mean_patches_that_had_them() -> None:
    tokenizer = tokenizer_of(made())
    shown = tokenizer.decode(torch.tensor([[3, 4]]), (1, 2))
    assert torch.equal(shown[0, :, :, 14:].permute(1, 2, 0).flatten(), made().tensors["patches"][4])
    with pytest.raises(TokenizerError, match="patches around"):
        tokenizer.encode_patches(torch.zeros(2, FACTS.patch_dim))


@pytest.mark.parametrize("shape", [(1, 1, 28, 28), (1, 3, 28, 20)])
def test_images_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"channels|divide"):
        CodebookTokenizer(made()).encode(torch.zeros(shape))


def without(name: str) -> dict[str, Tensor]:
    return {other: tensor for other, tensor in values().items() if other != name}


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({}, "no tensor 'blocks.input.weight'"),
        (without("blocks.output.conv.weight"), "no tensor 'blocks.output.conv.weight'"),
        (without("blocks.group_3.group.block_1.id_path.bias"), "id_path.bias is missing"),
        (values() | {"blocks.more": torch.zeros(2)}, "blocks.more is unknown"),
        (values() | {"blocks.output.conv.bias": torch.zeros(5)}, r"conv.bias is \[5\], not \[32\]"),
        (values() | {"blocks.input.weight": torch.zeros(8)}, "no tensor 'blocks.input.weight'"),
        (values() | {"blocks.input.weight": torch.zeros(0, 3, 7, 7)}, "hidden 0 must lie between"),
        (values() | {"blocks.input.weight": torch.zeros(100_000, 1, 1, 1).expand(-1, 3, 7, 7)}, "hidden 100"),
        (values() | {"blocks.group_1.group.block_999.x": torch.zeros(1)}, "blocks 999"),
    ],
)
def test_tensors_of_something_else_are_named(tensors: dict[str, Tensor], reason: str) -> None:
    with pytest.raises(TokenizerError, match=reason):
        sizes_of(tensors)


@pytest.mark.parametrize(
    ("artifact", "reason"),
    [
        (made(replace(FACTS, options={})), "its option 'channels' is not int"),
        (made(replace(FACTS, options={**FACTS.options, "hidden": 10**9})), "fit no codebook: hidden"),
        (made(replace(FACTS, options={**FACTS.options, "hidden": 16})), "tensor 'blocks.input.weight'"),
        (made(replace(FACTS, in_chans=2, mean=(0.0,) * 2, std=(1.0,) * 2)), "3 channels or grey ones, not of 2"),
        (made(patches=torch.zeros(32, 5)), "'patches' is"),
        (made(**{"blocks.input.bias": torch.full((8,), torch.inf)}), "'blocks.input.bias' holds numbers"),
    ],
)
def test_an_artifact_of_wrong_values_is_refused(artifact: Artifact, reason: str) -> None:
    with pytest.raises(TokenizerError, match=reason):
        CodebookTokenizer(artifact)
