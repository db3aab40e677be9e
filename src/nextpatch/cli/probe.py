"""`nextpatch probe`: measures frozen features with labels, then writes the report."""

from __future__ import annotations

from dataclasses import dataclass

from nextpatch.cli.report import try_probe_page, try_report
from nextpatch.core.bounds import check_bounds
from nextpatch.tasks.probe.config import ProbeConfig


@dataclass(frozen=True)
class Probe:
    """Measure frozen features with labels, and compare with raw pixels and, for a run, with the untrained network.

    examples:
      nextpatch probe runs/photos --data ./labeled --test ./test
      nextpatch probe runs/photos --data train.parquet --layers each --labels 1000
      nextpatch probe apple/aim-600M --data ./labeled --out probes/600m --layers each windows --augment paper
      nextpatch probe timm:vit_base_patch16_224.dino --data ./labeled --out probes/dino --shots 1 5 10
    """

    config: ProbeConfig
    seeds: int = 1
    """Measure with this many seeds, and report mean and standard deviation."""


def run(args: Probe) -> int:
    """Probe, write the page; returns the exit code."""
    from nextpatch.dist.ranks import Ranks
    from nextpatch.runs.run import RunDir
    from nextpatch.tasks.probe.run import output_of
    from nextpatch.tasks.probe.seeds import probe_seeds

    check_bounds(args, seeds=(1, 1000))
    config = args.config
    with Ranks.opened() as ranks:
        out = output_of(config)
        of_run = RunDir.exists(out)  # which may be training now: only what a probe leaves is held
        with ranks.only_writer(out / "probe.json" if of_run else out, "probe", file=of_run):
            probe_seeds(config, args.seeds, ranks=ranks)
        if ranks.is_main:
            (try_report if RunDir.exists(out) else try_probe_page)(out)
    return 0
