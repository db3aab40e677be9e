"""Which mesh is chosen, and which is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextpatch.config import ConfigError
from nextpatch.model.config import ModelConfig
from nextpatch.model.count import count_params
from nextpatch.dist.config import EngineConfig
from nextpatch.dist.mesh import mesh_shape
from nextpatch.dist.ranks import Ranks

GPU = 80 * 2**30


def shape(size, ranks, local, engine=EngineConfig()):  # noqa: B008
    return mesh_shape(engine, Ranks(0, ranks, 0, local), count_params(ModelConfig(size=size)).total, GPU)[:2]


def test_small_models_are_replicated_large_ones_sharded_first_within_a_machine():
    assert shape("600m", 8, 8) == (8, 1)
    assert shape("7b", 8, 8) == (1, 8)
    assert shape("7b", 64, 8) == (8, 8)
    assert shape("7b", 64, 2) == (1, 64)  # two GPUs a machine do not hold it
    assert shape("7b", 1, 1) == (1, 1)


def test_what_is_given_holds_and_the_other_follows():
    assert shape("600m", 8, 8, EngineConfig(shard=4)) == (2, 4)
    assert shape("600m", 8, 8, EngineConfig(replicate=8)) == (8, 1)
    assert shape("600m", 8, 8, EngineConfig(replicate=2, shard=4)) == (2, 4)


@pytest.mark.parametrize("wrong", [{"shard": 3}, {"replicate": 5}, {"replicate": 2, "shard": 2}, {"shard": 16}])
def test_numbers_that_do_not_fill_the_ranks_are_refused(wrong):
    with pytest.raises(ConfigError, match="is not 8, the number of ranks"):
        shape("600m", 8, 8, EngineConfig(**wrong))


@given(st.integers(1, 12), st.integers(1, 16), st.sampled_from(["nano", "600m", "3b", "7b"]))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_choice_always_fills_the_ranks(machines, local, size):
    replicate, shard = shape(size, machines * local, local)
    assert replicate * shard == machines * local
    assert shard in (1, local, machines * local)
