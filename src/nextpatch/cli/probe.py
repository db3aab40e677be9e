"""`nextpatch probe`: what a run's frozen features are worth, then the report with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from nextpatch.cli.flags import chosen, img_size, layout, optional, pixel_range
from nextpatch.cli.report import try_probe_page, try_report
from nextpatch.core.bounds import check_bounds
from nextpatch.data.preprocessing import Layout
from nextpatch.runs.config import Device, Precision
from nextpatch.tasks.probe.config import KINDS, NEIGHBORS, Kind, ProbeConfig


@dataclass(frozen=True)
class Probe:
    """Measure frozen features with labels, beside raw pixels and, for a run, beside the same network untrained.

    examples:
      nextpatch probe runs/photos --data ./labeled --test ./test
      nextpatch probe runs/photos --data train.parquet --layers each --labels 1000
      nextpatch probe apple/aim-600M --data ./labeled --out probes/600m --layers each windows --augment paper
      nextpatch probe timm:vit_base_patch16_224.dino --data ./labeled --out probes/dino --shots 1 5 10
    """

    weights: Annotated[
        Positional[str], arg(metavar="WEIGHTS", help="directory of a run, finished or not, or any other weights")
    ]
    data: Annotated[str, arg(metavar="PATH", help="labeled images to learn from: one folder per class, or Parquet")]
    test: Annotated[str, optional("PATH", "labeled images to test on (default: a fifth of --data, set aside)")] = ""
    labels: Annotated[
        tuple[int, ...], optional("N ...", "numbers of labels to learn from (default: 100, 1000, 10000 as they fit)")
    ] = ()
    layers: Annotated[
        tuple[str, ...],
        optional("SET ...", "blocks to read: 3, 2,3 or 0-3 (averaged), each, windows (default: some, the last six)"),
    ] = ()
    lrs: Annotated[
        tuple[float, ...],
        optional("LR ...", "learning rates, all tried in one pass (default: four; with --augment paper its seven)"),
    ] = ()
    epochs: Annotated[int, optional("N", "passes over the labels (default: 8 to 16, by their number)"), chosen(int)] = 0
    batch_size: Annotated[
        int, optional("N", "images in an update (default: 32 to 256, by the number of labels)"), chosen(int)
    ] = 0
    weight_decay: Annotated[float, arg(help="of all weights; biases do not decay")] = 0.1
    clip_norm: Annotated[float, arg(help="gradient norm at which a probe is clipped")] = 3.0
    min_lr: Annotated[float, arg(help="learning rate at the end")] = 1e-5
    warmup: Annotated[float, arg(help="share of the updates with a rising learning rate")] = 0.05
    neighbors: Annotated[tuple[int, ...], arg(help="numbers of nearest neighbors to try")] = NEIGHBORS
    step: Annotated[int, optional("N", "checkpoint to measure (default: the newest)")] = -1
    seeds: Annotated[int, arg(help="measure with so many seeds, and give their mean and deviation")] = 1
    seed: Annotated[int, arg(help="of the division of the labels and of the start of the probes")] = 0
    workers: Annotated[int, arg(help="processes that decode images; 0: this one")] = 0
    device: Annotated[Device, arg(help="where to compute")] = "auto"
    out: Annotated[Path | None, optional("DIR", "where the results go (default: a run's into the run)")] = None
    shots: Annotated[tuple[int, ...], optional("N ...", "labels per class, each one more row: 1 5 10")] = ()
    probes: Annotated[tuple[Kind, ...], arg(help="which classifiers to train")] = KINDS[:3]
    augment: Annotated[
        Literal["none", "paper"], arg(help="change images anew in every epoch (Table 11), or compute features once")
    ] = "none"
    select_on: Annotated[
        Literal["held-out", "paper"], arg(help="choose on a held-out slice of DATA, or on the test images (the paper)")
    ] = "held-out"
    precision: Annotated[Precision, arg(help="number format of the trunk; probes are always float32")] = "auto"
    overlap: Annotated[
        Literal["refuse", "leave-out", "keep"], arg(help="test images that are among the training images as well")
    ] = "refuse"
    cache: Annotated[
        Path | None, optional("DIR", "keep features there, in float32, for more labels than fit into memory")
    ] = None
    img_size: Annotated[tuple[int, int] | None, *img_size()] = None
    pixel_range: Annotated[tuple[float, float] | None, *pixel_range()] = None
    layout: Annotated[Layout | None, *layout()] = None


def run(args: Probe) -> int:
    """Probe, write the page; returns the exit code."""
    from nextpatch.dist.ranks import Ranks
    from nextpatch.runs.run import RunDir
    from nextpatch.tasks.probe.run import output_of
    from nextpatch.tasks.probe.seeds import probe_seeds

    check_bounds(args, seeds=(1, 1000))
    values = asdict(args)
    seeds = values.pop("seeds")
    config = ProbeConfig(**values)
    with Ranks.opened() as ranks:
        out = output_of(config)
        of_run = RunDir.exists(out)  # which may be training now: only what a probe leaves is held
        with ranks.only_writer(out / "probe.json" if of_run else out, "probe", file=of_run):
            probe_seeds(config, seeds, ranks=ranks)
        if ranks.is_main:
            (try_report if RunDir.exists(out) else try_probe_page)(out)
    return 0
