"""Our discrete autoencoder as a tokenizer: any patch and grid, whole images only, the same codes whoever asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nextpatch.core.errors import UserError
from nextpatch.tokenizer.artifact import Artifact, TokenizerFacts, write_artifact
from nextpatch.tokenizer.dvae import DVAETokenizer
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.tokenizer.tokenizer import Tokenizer, open_tokenizer, tokenizer_of
from tokenizers_made import DVAE_OPTIONS, dvae


def images(count: int = 3, patch: int = 3, channels: int = 2, grid: tuple[int, int] = (4, 6)) -> Tensor:
    shape = (count, channels, grid[0] * patch, grid[1] * patch)
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("patch", "channels", "grid"), [(1, 1, (3, 5)), (3, 2, (4, 6)), (14, 3, (1, 2)), (4, 12, (2, 2))]
)
def test_the_grid_of_codes_is_that_of_the_patches(patch: int, channels: int, grid: tuple[int, int]) -> None:
    tokenizer, seen = tokenizer_of(dvae(patch, channels)), images(2, patch, channels, grid)
    assert isinstance(tokenizer, Tokenizer)
    codes = tokenizer.encode(seen)
    assert codes.shape == (2, grid[0] * grid[1])
    assert tokenizer.decode(codes, grid).shape == seen.shape


def test_a_code_is_the_nearest_to_the_vector_at_its_place(tmp_path: Path) -> None:
    write_artifact(tmp_path / "dvae.safetensors", dvae())
    tokenizer, seen = open_tokenizer(tmp_path / "dvae.safetensors"), images()
    assert isinstance(tokenizer, DVAETokenizer)
    vectors = tokenizer.networks.encoder(seen)
    expected = torch.cdist(vectors.flatten(1, 2), dvae().tensors["vectors"]).argmin(dim=-1)
    assert torch.equal(tokenizer.encode(seen), expected)
    assert len(expected.unique()) > 5
    drawn = tokenizer.networks.decoder(dvae().tensors["vectors"][expected].view(3, 4, 6, 6))
    assert torch.equal(tokenizer.decode(expected, (4, 6)), drawn)


def test_a_code_depends_on_its_surroundings_so_far_and_no_further() -> None:
    tokenizer, seen = DVAETokenizer(dvae()), images(1, grid=(9, 9)).requires_grad_()
    assert not tokenizer.local
    (slope,) = torch.autograd.grad(tokenizer.networks.encoder(seen)[0, 4, 4].sum(), seen)
    felt = slope[0].abs().sum(0).nonzero()
    assert felt.amin(0).tolist() == [3 * 3 - 1] * 2  # one patch, and one pixel more
    assert felt.amax(0).tolist() == [3 * 6] * 2
    with pytest.raises(TokenizerError, match="patches around"):
        tokenizer.encode_patches(torch.zeros(2, 18))


def test_codes_depend_neither_on_the_batch_nor_on_the_precision_around() -> None:
    tokenizer, seen = tokenizer_of(dvae()), images(37)
    together = tokenizer.encode(seen)
    assert torch.equal(torch.cat([tokenizer.encode(one[None]) for one in seen]), together)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(tokenizer.encode(seen), together)
        assert tokenizer.decode(together, (4, 6)).dtype == torch.float32
    assert torch.equal(tokenizer.encode(seen[:0]), together[:0])
    assert not tokenizer.encode(seen.requires_grad_()).requires_grad


@pytest.mark.parametrize(("patch", "channels"), [(3, 2), (7, 1)])
def test_its_operations_are_those_that_torch_counts(patch: int, channels: int) -> None:
    tokenizer = tokenizer_of(dvae(patch, channels))
    with FlopCounterMode(display=False) as counted:
        tokenizer.encode(images(1, patch, channels))
    assert counted.get_total_flops() == 24 * tokenizer.flops_per_patch
    encoder = [t for name, t in dvae(patch, channels).tensors.items() if name.startswith(("encoder.", "vectors"))]
    assert tokenizer.params == sum(t.numel() for t in encoder)


def test_images_that_do_not_fit_are_refused() -> None:
    for seen in (images(channels=1), images()[..., :-1]):
        with pytest.raises(UserError, match=r"channels|divide"):
            tokenizer_of(dvae()).encode(seen)


def options(**values: object) -> TokenizerFacts:
    return replace(dvae().facts, options={**DVAE_OPTIONS, **values})


@pytest.mark.parametrize(
    ("artifact", "reason"),
    [
        (replace(dvae(), facts=options(width=10**9)), "fit no autoencoder: width"),
        (replace(dvae(), facts=options(depth=True)), "its option 'depth' is not int"),
        (replace(dvae(), facts=options(depth=2)), r"no tensor 'encoder\.blocks\.1"),
        (replace(dvae(), facts=options(code_dim=5)), r"'encoder\.out\.weight' is"),
        (replace(dvae(), facts=replace(dvae().facts, codes=21)), "'vectors' is"),
        (dvae(vectors=torch.full((20, 6), torch.nan)), "'vectors' holds numbers that are not finite"),
        (dvae(**{"decoder.patches.bias": torch.zeros(18).double()}), r"'decoder\.patches\.bias' is"),
    ],
)
def test_an_artifact_of_wrong_values_is_refused(artifact: Artifact, reason: str) -> None:
    with pytest.raises(TokenizerError, match=reason):
        tokenizer_of(artifact)
