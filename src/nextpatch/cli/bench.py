"""`nextpatch bench`: the paper's 15 benchmarks, with its Table 6 beside what was measured."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, arg

from nextpatch.cli.flags import chosen, optional
from nextpatch.runs.config import Device, Precision


@dataclass(frozen=True)
class Bench:
    """Probe weights on the paper's benchmarks and print Table 6 with them in it; stopped, it goes on where it was.

    benchmarks: imagenet inat18 cifar10 cifar100 food101 dtd pets cars iwildcam camelyon17 pcam rxrx1 eurosat fmow
    infograph. Those of torchvision and the Hub are downloaded unless --root names a folder that has them.

    examples:
      nextpatch bench --weights apple/aim-600M --out bench/600m --only cifar10,pets,dtd
      nextpatch bench --weights timm:vit_base_patch8_224.dino --out bench/dino --root /data
      torchrun --standalone --nproc-per-node gpu -m nextpatch bench --weights apple/aim-7B --out bench/7b --root /data
    """

    weights: Annotated[str, arg(metavar="WEIGHTS", help="whatever nextpatch loads, also timm:, hf: and torchhub:")]
    out: Annotated[Path, arg(metavar="DIR", help="where the results go")]
    only: Annotated[tuple[str, ...], optional("NAME ...", "some of them, with spaces or commas (default: all)")] = ()
    root: Annotated[Path | None, optional("DIR", "folder with one folder per benchmark, named as above")] = None
    layers: Annotated[
        tuple[str, ...], optional("SET ...", "blocks to read, as in nextpatch probe (default: as the weights say)")
    ] = ()
    epochs: Annotated[
        int, optional("N", "passes over the images (default: the paper's 100; 50 for ImageNet)"), chosen(int)
    ] = 0
    batch_size: Annotated[
        int, optional("N", "images in an update (default: the paper's 512; 1,024 for ImageNet)"), chosen(int)
    ] = 0
    augment: Annotated[Literal["none", "paper"], arg(help="as Table 11, or features computed once")] = "paper"
    select_on: Annotated[
        Literal["held-out", "paper"], arg(help="choose on a held-out slice of the training images, or on the test's")
    ] = "held-out"
    any_counts: Annotated[
        FlagCreatePairsOff[bool], arg(help="measure also data sets of other counts than Table 9's")
    ] = False
    seed: Annotated[int, arg(help="of order, augmentation and start")] = 0
    workers: Annotated[int, arg(help="processes that decode images; 0: this one")] = 0
    device: Annotated[Device, arg(help="where to compute")] = "auto"
    precision: Annotated[Precision, arg(help="number format of the trunk")] = "auto"


def run(args: Bench) -> int:
    """Measure, write the tables and print one."""
    from nextpatch.bench.config import BenchConfig
    from nextpatch.bench.run import bench
    from nextpatch.dist.ranks import Ranks

    with Ranks.opened() as ranks, ranks.only_writer(args.out, "bench"):
        try:
            bench(BenchConfig(**asdict(args)), ranks=ranks)
        except KeyboardInterrupt:
            print("stopped; finished benchmarks are kept, the same command goes on", file=sys.stderr)
            raise
        if ranks.is_main:
            print(f"{args.out}/bench.md, bench.csv, bench.json")
    return 0
