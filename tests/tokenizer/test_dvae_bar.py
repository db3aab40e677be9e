"""The discrete autoencoder on the embedded images: in under five minutes of two cores, better than k-means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import nextpatch


def processor_s() -> float:
    used = os.times()
    return used.user + used.system


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("patch", [7, 4])
def test_all_codes_are_used_and_images_come_back_better(patch: int, tmp_path: Path) -> None:
    found = {}
    for kind in ("kmeans", "dvae"):
        before, out = processor_s(), tmp_path / f"{kind}.safetensors"
        made = nextpatch.fit_tokenizer("demo:train", out, kind=kind, codes=512, patch_size=patch, quiet=True)
        found[kind] = made.quality
        print(f"{kind}, patch {patch}: {made.quality}, {processor_s() - before:.0f} s of processor time")
        assert processor_s() - before < 2 * 300
    assert found["dvae"].used >= 0.95 * 512
    assert found["dvae"].error is not None
    assert found["kmeans"].error is not None
    assert found["dvae"].error < found["kmeans"].error
