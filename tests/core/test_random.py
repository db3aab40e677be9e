from __future__ import annotations

import ast
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from nextpatch.core.random import FixedSeed, Stream, all_seeded, rng_at, torch_seeded
from nextpatch.data.permute import key_of

PACKAGE = Path(__file__).parents[2] / "src" / "nextpatch"
TABLE = "core/random.py"
BUILDERS = {
    "Philox", "PCG64", "MT19937", "SFC64", "SeedSequence", "RandomState", "default_rng", "manual_seed",
    "manual_seed_all", "fork_rng", "seed", "Generator",
}  # fmt: skip
LIBRARIES = ("np.random.", "numpy.random.", "torch.", "random.")
FIRST_DRAWS = {  # of seed 3 at position 5, as they were before there was a table: no number in it may change
    "ORDER": 132, "VIEW": 379, "HELD_OUT": 344, "REPLACEMENT": 169, "SHARDS": 272, "MIXTURE": 322,
    "LABEL_SPLIT": 389, "LABELED_ORDER": 568, "LABELED_VIEW": 998, "MIXUP": 838, "PREVIEW": 981, "PREFIX": 140,
    "PATCH_ORDER": 480, "FIRST_CODES": 684,
    "KEPT_PATCHES": 195, "DEAD_CODES": 356, "MASK": 832,
    "NOISE": 151, "SAMPLE": 862, "IMAGE_ORDER": 555, "UNLABELLED": 787, "COMPARED": 71, "TILE": 656,
}  # fmt: skip


def test_every_stream_has_a_number_of_its_own_that_never_changes() -> None:
    assert len({int(stream) for stream in Stream}) == len(Stream.__members__)
    assert len({int(seed) for seed in FixedSeed}) == len(FixedSeed.__members__)
    assert {stream.name: int(rng_at(3, stream, 5).integers(1000)) for stream in Stream} == FIRST_DRAWS
    assert FixedSeed.VALIDATION == 0x56414C


def test_draws_are_apart_by_seed_stream_and_position() -> None:
    draws = {rng_at(s, stream, p).integers(2**62) for s in (0, 1) for stream in Stream for p in range(50)}
    assert len(draws) == 2 * len(Stream) * 50
    assert rng_at(3, Stream.VIEW, 9).integers(2**62) == rng_at(3, Stream.VIEW, 9).integers(2**62)
    assert len({int(key_of(3, stream, 9)[0]) for stream in Stream}) == len(Stream)


def test_a_long_draw_never_runs_into_the_next_position() -> None:
    long = set(rng_at(0, Stream.VIEW, 0).random(10_000).tolist())
    assert not long & set(rng_at(0, Stream.VIEW, 1).random(100).tolist())


@pytest.mark.parametrize("seeded", [lambda: all_seeded(rng_at(1, Stream.MIXUP, 2)), lambda: torch_seeded(4)])
def test_global_generators_are_seeded_inside_alone(seeded) -> None:
    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), float(torch.rand(1))  # noqa: NPY002

    def state() -> tuple[object, bytes]:
        return random.getstate(), np.random.get_state()[1].tobytes() + torch.random.get_rng_state().numpy().tobytes()  # noqa: NPY002

    before = state()
    with seeded():
        once = torch.rand(3)
    assert state() == before
    drawn()
    with seeded():
        assert torch.equal(torch.rand(3), once)


def built(path: Path) -> list[str]:
    """Where a file builds or seeds a generator, or keys a draw by another number than a stream of the table."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        builds = called.rpartition(".")[2] in BUILDERS and (called.startswith(LIBRARIES) or "." not in called)
        keyed = called in ("rng_at", "key_of") and len(node.args) > 1 and "Stream." not in ast.unparse(node.args[1])
        if builds or keyed or called.endswith((".manual_seed", ".seed")):
            found.append(f"{path.name}:{node.lineno} {called}")
    return found


def test_no_generator_is_built_outside_of_the_table() -> None:
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).as_posix() != TABLE]
    assert [found for path in files for found in built(path)] == []
    assert len(built(PACKAGE / TABLE)) >= 6


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "np.random.Generator(np.random.Philox(key=[1, 2]))\ntorch.Generator().manual_seed(0)\nrandom.seed(1)\n"
        "rng_at(seed, 7, 0)\nrng_at(seed, Stream.VIEW, 0)\nkey_of(seed, _MINE)\ndefault_rng(3)\n"
    )
    assert [line.partition(":")[2].split()[0] for line in built(path)] == ["1", "2", "3", "4", "6", "7", "1", "2"]
