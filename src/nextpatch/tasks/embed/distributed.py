"""The same work on Ray: one shard a unit of work, on as many machines as there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nextpatch.data.sources.open import open_source
from nextpatch.dist.ray_cluster import opened_ray
from nextpatch.tasks.embed.config import EmbedConfig
from nextpatch.tasks.embed.embedder import Embedder


def worked_by_ray(config: EmbedConfig, todo: list[int], facts: dict[str, Any]) -> Iterator[int]:
    """The numbers of shards as Ray finishes them; a worker keeps its weights from shard to shard.

    Joins the cluster that $RAY_ADDRESS names, or starts Ray on this machine, reachable from here alone. Data, weights
    and output must be at the same places everywhere. What a dying worker has begun is done again by another.
    """
    with opened_ray() as ray:
        from ray.util import ActorPool

        gpus, cpus = int(ray.cluster_resources().get("GPU", 0)), int(ray.cluster_resources().get("CPU", 1))
        count = max(1, min(len(todo), gpus or cpus))
        options: dict[str, Any] = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        remote = ray.remote(max_restarts=3, max_task_retries=3, **options)(_RayWorker)
        pool = ActorPool([remote.remote(config) for _ in range(count)])
        yield from pool.map_unordered(lambda actor, number: actor.work.remote(number, facts), todo)


class _RayWorker:
    """One process of Ray's, with the weights loaded once."""

    def __init__(self, config: EmbedConfig) -> None:
        self._embedder, self._source = Embedder(config), open_source(config.data)

    def work(self, number: int, facts: dict[str, Any]) -> int:
        """One shard; its number."""
        self._embedder.work(self._source, number, facts, lambda count: None)
        return number
