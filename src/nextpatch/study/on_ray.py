"""The same work on Ray: one task a run, on as many machines as there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nextpatch.dist.ray_cluster import opened_ray
from nextpatch.study.schedule import Stop
from nextpatch.study.work import Ended, RunWork, perform

_LOOK_S = 0.2
_RETRIES = 10  # of a run whose worker or machine dies; each goes on from the last checkpoint


def perform_on_ray(
    works: Sequence[RunWork],
    env: Mapping[str, str],
    jobs: int,
    stop: Stop,
    began: Callable[[str], None],
    look: Callable[[], None],
) -> Iterator[Ended]:
    """As `perform_all`, by Ray's workers: `jobs` at a time, or with 0 as many as there are GPUs, or processors for the
    threads of a run. Study, runs and images must be at the same places on every machine.
    """
    with opened_ray() as ray:
        gpus, cpus = int(ray.cluster_resources().get("GPU", 0)), int(ray.cluster_resources().get("CPU", 1))
        threads = min(cpus, int(env["OMP_NUM_THREADS"]))
        needs: dict[str, Any] = {"num_gpus": 1, "num_cpus": 0} if gpus else {"num_cpus": threads}
        remote = ray.remote(max_retries=_RETRIES, **needs)(perform)
        waiting = iter(works)
        running: dict[Any, str] = {}
        places = jobs or gpus or max(1, cpus // threads)
        while True:
            while len(running) < places and not stop() and (work := next(waiting, None)) is not None:
                began(work.name)
                running[remote.remote(work, dict(env))] = work.name
            if not running:
                return
            look()
            if stop():
                for reference in running:
                    ray.cancel(reference, force=False)
            for reference in ray.wait(list(running), timeout=_LOOK_S)[0]:
                yield _ended(ray, reference, running.pop(reference))


def _ended(ray: Any, reference: Any, name: str) -> Ended:
    try:
        found: Ended = ray.get(reference)
    except (ray.exceptions.TaskCancelledError, KeyboardInterrupt):
        return Ended(name, "stopped")
    except ray.exceptions.RayError as error:
        return Ended(name, "failed", f"Ray gave it up: {' '.join(str(error).split())[:300]}")
    return found
