"""`nextpatch bench`: the paper's 15 benchmarks, with its Table 6 beside what was measured."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from nextpatch.bench.config import BenchConfig


@dataclass(frozen=True)
class Bench:
    """Probe weights on the paper's benchmarks and print Table 6 with the results in it; a stopped run can be continued.

    benchmarks: imagenet inat18 cifar10 cifar100 food101 dtd pets cars iwildcam camelyon17 pcam rxrx1 eurosat fmow
    infograph. Those of torchvision and the Hub are downloaded, unless --root names a folder that has them.

    examples:
      nextpatch bench --weights apple/aim-600M --out bench/600m --only cifar10,pets,dtd
      nextpatch bench --weights timm:vit_base_patch8_224.dino --out bench/dino --root /data
      torchrun --standalone --nproc-per-node gpu -m nextpatch bench --weights apple/aim-7B --out bench/7b --root /data
    """

    config: BenchConfig


def run(args: Bench) -> int:
    """Measure, write the tables and print one."""
    from nextpatch.bench.run import bench
    from nextpatch.dist.ranks import Ranks

    with Ranks.opened() as ranks, ranks.only_writer(args.config.out, "bench"):
        try:
            bench(args.config, ranks=ranks)
        except KeyboardInterrupt:
            print("stopped; finished benchmarks are saved, repeat the same command to continue", file=sys.stderr)
            raise
        if ranks.is_main:
            print(f"{args.config.out}/bench.md, bench.csv, bench.json")
    return 0
