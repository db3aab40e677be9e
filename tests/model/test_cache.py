"""Tokens that come one by one, with keys and values kept, get the features that all of them get at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nextpatch.model.aim import AIM
from nextpatch.model.attention import causal_mask, prefix_mask
from nextpatch.model.cache import KeyValueCache, filled_mask
from nextpatch.model.config import ModelConfig
from nextpatch.model.names import DRAWN_ORDERS, ORDERS
from nextpatch.model.orders import order_of
from variants import SMALL, built

BATCH, CONTEXT = 3, 2
CPU = torch.device("cpu")


def model_of(order: str = "raster") -> AIM:
    seed = 3 if order == "random" else 0
    return built(ModelConfig(**SMALL, img_size=(8, 10), order=order, order_seed=seed)).float()


def tokens_of(model: AIM, context: int = CONTEXT) -> Tensor:
    """Some context, which is no patch, and the tokens of patches in the model's order."""
    cfg, generator = model.cfg, torch.Generator().manual_seed(4)
    patches = torch.randn(BATCH, cfg.num_patches, cfg.patch_dim, generator=generator)
    before = torch.randn(BATCH, context, cfg.shape.embed_dim, generator=generator)
    return torch.cat([before, model.patch_embed(patches, order_of(cfg))], dim=1)


@pytest.mark.parametrize("order", [name for name in ORDERS if name not in DRAWN_ORDERS])
@pytest.mark.parametrize("prefix", [1, CONTEXT, 7, 21])
@torch.no_grad()
def test_one_by_one_is_as_all_at_once(order: str, prefix: int) -> None:
    model = model_of(order)
    tokens = tokens_of(model)
    length = tokens.shape[1]
    whole = model.trunk(tokens, prefix_mask(torch.full((BATCH,), prefix), length, CPU))["post_trunk_norm"]
    cache = KeyValueCache(model.cfg, BATCH, length, CPU)
    found = [model.trunk.extend(tokens[:, :prefix], cache)]
    found += [model.trunk.extend(tokens[:, at : at + 1], cache) for at in range(prefix, length)]
    assert cache.length == length
    torch.testing.assert_close(torch.cat(found, dim=1), whole, rtol=0, atol=1e-5)


@torch.no_grad()
def test_images_with_different_prefixes_go_together() -> None:
    model, prefix = model_of(), torch.tensor([1, 12, 5])
    tokens = tokens_of(model)
    length, longest = tokens.shape[1], int(prefix.max())
    whole = model.trunk(tokens, prefix_mask(prefix, length, CPU))["post_trunk_norm"]
    rest = length - int(prefix.min())
    cache = KeyValueCache(model.cfg, BATCH, longest + rest, CPU)
    known = model.trunk.extend(tokens[:, :longest], cache, filled_mask(prefix, longest))
    for image, own in enumerate(prefix.tolist()):
        torch.testing.assert_close(known[image, :own], whole[image, :own], rtol=0, atol=1e-5)
    for step in range(rest):
        at = (prefix + step).clamp(max=length - 1)  # an image that is finished goes along
        new = tokens[torch.arange(BATCH), at][:, None]
        found = model.trunk.extend(new, cache, filled_mask(prefix, longest + step + 1))[:, 0]
        going = prefix + step < length
        torch.testing.assert_close(found[going], whole[going, at[going]], rtol=0, atol=1e-5)


@torch.no_grad()
def test_known_tokens_of_a_causal_model_go_in_causally() -> None:
    model, prefix = model_of(), 9
    tokens = tokens_of(model)
    length = tokens.shape[1]
    whole = model.trunk(tokens, causal_mask(length, CPU)[None, None])["post_trunk_norm"]
    cache = KeyValueCache(model.cfg, BATCH, length, CPU)
    known = model.trunk.extend(tokens[:, :prefix], cache, causal_mask(prefix, CPU)[None, None])
    rest = [model.trunk.extend(tokens[:, at : at + 1], cache) for at in range(prefix, length)]
    torch.testing.assert_close(torch.cat([known, *rest], dim=1), whole, rtol=0, atol=1e-5)


@torch.no_grad()
def test_nothing_is_allocated_again_and_the_bytes_are_those_of_the_formula() -> None:
    model = model_of()
    tokens = tokens_of(model)
    cache = KeyValueCache(model.cfg, BATCH, tokens.shape[1], CPU)
    before = [(kept.keys.data_ptr(), kept.values.data_ptr()) for kept in cache.blocks]
    for at in range(tokens.shape[1]):
        model.trunk.extend(tokens[:, at : at + 1], cache)
    assert before == [(kept.keys.data_ptr(), kept.values.data_ptr()) for kept in cache.blocks]
    held = sum(kept.keys.nbytes + kept.values.nbytes for kept in cache.blocks)
    assert held == KeyValueCache.num_bytes(model.cfg, BATCH, tokens.shape[1])
    with pytest.raises(AssertionError, match="more tokens than the cache has slots"):
        model.trunk.extend(tokens[:, :1], cache)
