"""The public codebook as files and on the Hub, against a server on loopback that answers as the Hub does."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hub_models import Hub
from nextpatch.core.errors import ConfigError
from nextpatch.patches import patchify
from nextpatch.tokenizer.config import FitOptions
from nextpatch.tokenizer.dalle import CodebookSizes, empty_encoder
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.tokenizer.tokenizer import tokenizer_of
from nextpatch.weights.codebook import codebook_tensors, fit_codebook
from nextpatch.weights.error import WeightsError
from ranks import run_alone
from tokenizers_made import views

SIZES = CodebookSizes(hidden=8, codes=16)


def state() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {name: torch.randn(t.shape, generator=rng) for name, t in empty_encoder(SIZES).state_dict().items()}


def pth(values: object) -> bytes:
    file = io.BytesIO()
    torch.save(values, file)
    return file.getvalue()


def same(found: dict[str, Tensor]) -> bool:
    return found.keys() == state().keys() and all(torch.equal(found[name], t) for name, t in state().items())


def test_a_file_of_either_kind_a_snapshot_and_a_larger_model_hold_it(tmp_path: Path) -> None:
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "pytorch_model.bin").write_bytes(pth(state()))
    save_file(state(), tmp_path / "codebook.safetensors")
    larger = {f"image_codebook.{name}": tensor for name, tensor in state().items()}
    save_file({**larger, "flava.text_model.norm.weight": torch.zeros(3)}, tmp_path / "flava.safetensors")
    for name in ("snapshot", "snapshot/pytorch_model.bin", "codebook.safetensors", "flava.safetensors"):
        sizes, tensors = codebook_tensors(str(tmp_path / name))
        assert sizes == SIZES
        assert same(tensors)


def test_half_precision_is_taken_as_float32(tmp_path: Path) -> None:
    save_file({name: tensor.half() for name, tensor in state().items()}, tmp_path / "half.safetensors")
    assert {tensor.dtype for tensor in codebook_tensors(str(tmp_path / "half.safetensors"))[1].values()} == {
        torch.float32
    }


class Ran(Exception): ...


class Runs:
    def __reduce__(self) -> tuple[type, tuple[str]]:
        return Ran, ("code of the file ran",)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pth(torch.nn.Conv2d(1, 1, 1)), "cannot be opened as tensors alone"),  # as DALL-E's own encoder.pkl
        (pickle.dumps(Runs()), "cannot be opened as tensors alone"),
        (b"", "cannot be opened as tensors alone"),
        (pth({"blocks.input.weight": torch.zeros(8, 3, 7, 7)}), "no tensor 'blocks.output.conv.weight'"),
        (pth(state() | {"blocks.input.bias": torch.full((8,), torch.nan)}), "blocks.input.bias holds numbers"),
        (pth(state() | {"blocks.input.bias": torch.zeros(1).expand(8)}), "is no plain tensor"),
        (pth(state() | {"blocks.input.bias": torch.zeros(9)}), r"blocks.input.bias is \[9\], not \[8\]"),
    ],
)
def test_other_files_are_refused_and_none_runs(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "encoder.pkl").write_bytes(data)
    with pytest.raises(WeightsError, match=reason):
        codebook_tensors(str(tmp_path / "encoder.pkl"))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none of model\.safetensors"):
        codebook_tensors(str(tmp_path))
    with pytest.raises(WeightsError, match=r"absent\.safetensors does not exist"):
        codebook_tensors(str(tmp_path / "absent.safetensors"))


def test_its_codes_are_counted_and_their_mean_patches_kept(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "codebook.safetensors")
    options = FitOptions(kind="codebook", weights=str(tmp_path / "codebook.safetensors"), coded_images=70)
    seen = views(images=100)
    made = fit_codebook(seen, options, 4, seed=0)
    assert (made.facts.codes, made.facts.mean, made.facts.std) == (16, seen.mean, seen.std)
    tokenizer = tokenizer_of(made)
    images = torch.cat(list(islice(seen.batches(0, 35), 2)))
    codes, patches = tokenizer.encode(images).flatten(), patchify(images, 4).flatten(0, 1)
    counts = torch.bincount(codes, minlength=16)
    assert 1 < int((counts > 0).sum()) < 16
    torch.testing.assert_close(made.tensors["frequencies"], counts / counts.sum())
    for code in range(16):
        mean = patches[codes == code].mean(0) if counts[code] else patches.mean(0)
        torch.testing.assert_close(made.tensors["patches"][code], mean, atol=1e-4, rtol=1e-4)
    assert tokenizer.decode(codes[None, :16], (4, 4)).shape == (1, 1, 16, 16)
    assert fit_codebook(seen, options, 4, seed=1).digest == made.digest


def test_another_number_of_codes_and_other_channels_are_refused(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "codebook.safetensors")
    options = FitOptions(kind="codebook", weights=str(tmp_path / "codebook.safetensors"), codes=100)
    with pytest.raises(ConfigError, match="has 16 codes, not 100; leave codes out"):
        fit_codebook(views(images=5), options, 4, seed=0)
    with pytest.raises(TokenizerError, match="3 channels or grey ones, not of 2"):
        fit_codebook(views(np.zeros((5, 16, 16, 2), np.uint8)), replace(options, codes=16), 4, seed=0)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.files = {"facebook/flava-image-codebook/pytorch_model.bin": pth(state())}
        yield hub


def fetched(spec: str) -> bool:
    return same(codebook_tensors(spec)[1])


def test_it_is_fetched_from_the_hub_once(hub: Hub, tmp_path: Path) -> None:
    told = {"HOME": str(tmp_path), **hub.told(str(tmp_path))}
    assert run_alone(fetched, "facebook/flava-image-codebook", env=told)
    assert run_alone(fetched, "hub:facebook/flava-image-codebook", env={**told, "HF_HUB_OFFLINE": "1"})
    assert hub.given == ["pytorch_model.bin"]
