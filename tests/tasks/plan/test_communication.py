"""Seconds of communication: what must hold of them, whatever the links."""

import pytest

from nextpatch.tasks.plan.communication import all_reduce_s, replica_group, ring_s, shard_group
from nextpatch.tasks.plan.gpus import GPUS

MESHES = [(1, 1), (8, 1), (1, 8), (4, 8), (32, 1), (1, 32), (8, 4), (2, 16)]


@pytest.mark.parametrize(("replicate", "shard"), MESHES)
@pytest.mark.parametrize("per_node", [4, 8])
def test_groups_are_those_of_neighbors_and_of_every_shardth(replicate, shard, per_node):
    machine = [rank // per_node for rank in range(replicate * shard)]
    parts, copies = machine[:shard], machine[::shard]
    for group, machines in (
        (shard_group(shard, per_node), parts), (replica_group(replicate, shard, per_node), copies)
    ):  # fmt: skip
        assert group.ranks == len(machines)
        assert group.within == machines.count(machines[0])
        assert group.machines == len(set(machines))


@pytest.mark.parametrize("name", GPUS)
@pytest.mark.parametrize("seconds", [ring_s, all_reduce_s])
def test_nobody_is_faster_than_the_links_allow(name, seconds):
    gpu, sent = GPUS[name], 1e9
    assert seconds(gpu, shard_group(1, 8), 0, 10) == 0
    assert seconds(gpu, shard_group(8, 8), sent, 0) == pytest.approx(sent / gpu.intra_gbs / 1e9)
    one_each = seconds(gpu, replica_group(4, 8, 8), sent, 0)
    all_cards = seconds(gpu, shard_group(32, 8), sent, 0)
    assert one_each == pytest.approx(sent / min(gpu.intra_gbs, gpu.inter_gbs) / 1e9)
    assert one_each / 8 <= all_cards <= one_each  # every card of a machine carries a part
    assert all_cards >= seconds(gpu, shard_group(8, 8), sent, 0)


@pytest.mark.parametrize("seconds", [ring_s, all_reduce_s])
def test_more_ranks_and_more_calls_take_longer(seconds):
    times = [seconds(GPUS["h100"], shard_group(ranks, 8), 1e9, 100) for ranks in (2, 8, 16, 64, 1024)]
    assert times == sorted(times)
    assert seconds(GPUS["h100"], shard_group(64, 8), 1e9, 200) > times[3]
