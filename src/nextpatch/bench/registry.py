"""The 15 benchmarks, one entry each: loader, counts of Table 9, licence, traps; and the figures of Table 6."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nextpatch.bench import loaders
from nextpatch.bench.loaders import Loader
from nextpatch.core.errors import UserError
from nextpatch.core.text import did_you_mean, shown
from nextpatch.data.error import DataError
from nextpatch.data.sources.source import Source


@dataclass(frozen=True)
class Benchmark:
    """`counts` are training images, test images and classes (Table 9). `note`: what one must know of the figures."""

    name: str
    title: str
    load: Loader
    counts: tuple[int, int, int]
    licence: str
    note: str = ""

    def opened(self, root: Path | None, any_counts: bool = False) -> tuple[Source, Source]:
        """(training images, test images); of a folder `root` that holds one folder per benchmark.

        DataError when there is not what Table 9 says, unless `any_counts`.
        """
        own = None if root is None else root / self.name
        if own is not None and not own.is_dir():
            raise DataError(f"{own} does not exist; put the benchmark's files there, or leave --root out to download")
        try:
            train, test = self.load(own)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError) as error:
            if isinstance(error, UserError) or own is None:
                raise
            said = shown(f"{type(error).__name__}: {error}"[:200])
            raise DataError(
                f"{self.title}: the lists in {own} are not the benchmark's own ({said}); download them again"
            ) from None
        found = (len(train), len(test), len(train.classes))
        if found != self.counts and not any_counts:
            raise DataError(
                f"{self.title} has {found[0]:,} training and {found[1]:,} test images of {found[2]:,} classes; Table 9 "
                f"has {self.counts[0]:,}, {self.counts[1]:,} and {self.counts[2]:,}. Another version, or incomplete? "
                "--any-counts measures it as it is, and says so"
            )
        return train, test


_OOD = "tested on the out-of-distribution validation split, as Table 9's counts show the paper did"
_SAME_SIZE = (
    "validation and test split have one size, so it is not known which the paper reports; this is the test split"
)

BENCHMARKS: list[Benchmark] = [  # one of your own comes behind them
    Benchmark("imagenet", "ImageNet-1k", loaders.by_folders("train", "val"), (1_281_167, 50_000, 1000),
              "ImageNet terms of access: research, no redistribution"),
    Benchmark("inat18", "iNaturalist 2018", loaders.inaturalist, (437_513, 24_426, 8142),
              "iNaturalist 2018 competition terms: non-commercial research",
              "split by the official lists: torchvision's loader mixes training and validation images"),
    Benchmark("cifar10", "CIFAR-10", loaders.by_torchvision(["CIFAR10/train"], "CIFAR10/test"), (50_000, 10_000, 10),
              "no licence stated"),
    Benchmark("cifar100", "CIFAR-100", loaders.by_torchvision(["CIFAR100/train"], "CIFAR100/test"),
              (50_000, 10_000, 100), "no licence stated"),
    Benchmark("food101", "Food-101", loaders.by_torchvision(["Food101/train"], "Food101/test"), (75_750, 25_250, 101),
              "images of foodspotting.com: fair use for research"),
    Benchmark("dtd", "DTD", loaders.by_torchvision(["DTD/train", "DTD/val"], "DTD/test"), (3_760, 1_880, 47),
              "for research", "partition 1, training and validation part together"),
    Benchmark("pets", "Oxford-IIIT Pets", loaders.by_torchvision(["OxfordIIITPet/trainval"], "OxfordIIITPet/test"),
              (3_680, 3_669, 37), "CC BY-SA 4.0"),
    Benchmark("cars", "Stanford Cars", loaders.by_hub("tanganke/stanford_cars", "train", "test"), (8_144, 8_041, 196),
              "ImageNet's terms, says its page", "the original host is gone: a copy on the Hub"),
    Benchmark("iwildcam", "iWildCam", loaders.iwildcam, (129_809, 14_961, 182), "CDLA-permissive 1.0", _OOD),
    Benchmark("camelyon17", "Camelyon17", loaders.camelyon17, (302_436, 34_904, 2), "CC0", _OOD),
    Benchmark("pcam", "PCAM", loaders.by_hub("1aurent/PatchCamelyon", "train", "test"), (262_144, 32_768, 2), "CC0",
              _SAME_SIZE),
    Benchmark("rxrx1", "RxRx1", loaders.rxrx1, (40_612, 9_854, 1139), "CC BY-NC-SA 4.0", _OOD),
    Benchmark("eurosat", "EuroSAT", loaders.by_hub("blanchon/EuroSAT_RGB", "train", "test"), (16_200, 5_400, 10), "MIT",
              _SAME_SIZE),
    Benchmark("fmow", "fMoW", loaders.fmow, (76_863, 19_915, 62), "fMoW challenge public licence", _OOD),
    Benchmark("infograph", "Infograph (DomainNet)", loaders.infograph, (36_023, 15_582, 345),
              "DomainNet: fair use for research"),
]  # fmt: skip
OF_THE_PAPER = tuple(benchmark.name for benchmark in BENCHMARKS)

# Table 6, in the order of OF_THE_PAPER, and the average it prints; the dagger is AIM-7B read at its 20th block
TABLE_6: dict[str, tuple[float, ...]] = {
    "DINO ViT-B/8": (80.1, 66.0, 97.8, 87.3, 89.5, 78.4, 92.3, 89.2, 58.5, 93.7, 90.2, 6.1, 98.2, 57.0, 41.1),
    "iBOT ViT-L/16": (83.5, 70.5, 99.2, 93.3, 93.5, 81.6, 92.8, 90.8, 61.8, 94.5, 90.0, 5.9, 98.0, 60.3, 47.7),
    "DINOv2 ViT-g/14": (86.4, 84.5, 99.6, 95.2, 96.3, 86.3, 96.4, 95.6, 68.2, 96.5, 90.7, 8.0, 98.6, 66.7, 58.8),
    "BEiT ViT-L/14": (62.2, 44.4, 94.4, 78.7, 79.0, 64.0, 80.9, 69.5, 52.0, 92.8, 88.2, 4.2, 97.5, 47.7, 25.9),
    "MAE ViT-H/14": (80.9, 64.6, 97.1, 85.8, 90.2, 78.1, 95.0, 93.7, 58.1, 94.2, 89.8, 5.4, 98.1, 56.9, 42.2),
    "MAE ViT-2B/14": (82.2, 70.8, 97.5, 87.3, 93.4, 81.2, 95.1, 94.9, 57.8, 94.4, 90.3, 7.3, 98.2, 60.1, 50.2),
    "AIM-0.6B": (78.5, 64.0, 97.2, 86.8, 90.1, 80.1, 93.0, 93.0, 57.9, 94.3, 90.0, 7.8, 98.4, 58.3, 45.2),
    "AIM-1B": (80.6, 67.2, 98.2, 88.3, 91.6, 81.8, 93.4, 93.9, 58.6, 94.5, 90.0, 9.0, 98.6, 59.8, 47.5),
    "AIM-3B": (82.2, 69.7, 98.4, 89.9, 92.7, 81.9, 94.1, 93.8, 58.8, 94.3, 90.4, 9.7, 98.5, 60.9, 48.9),
    "AIM-7B": (82.4, 70.9, 98.6, 90.0, 93.1, 82.3, 93.8, 92.1, 59.5, 93.6, 90.7, 10.1, 98.6, 61.7, 49.6),
    "AIM-7B, 20th block": (84.0, 75.5, 98.9, 91.8, 94.1, 85.6, 95.4, 95.0, 61.4, 94.2, 90.5, 8.4, 98.5, 63.5, 57.7),
}
AVERAGES = (75.0, 77.6, 81.9, 65.4, 75.3, 77.4, 75.6, 76.9, 77.6, 77.8, 79.6)  # as printed
# weights that stand nearest to the baselines, for --weights; BEiT is not to be had at patch 14, nor MAE at 2B
BASELINES = {
    "DINO ViT-B/8": "timm:vit_base_patch8_224.dino",
    "DINOv2 ViT-g/14": "timm:vit_giant_patch14_dinov2.lvd142m",
    "MAE ViT-H/14": "timm:vit_huge_patch14_224.mae",
    "AIM-0.6B": "apple/aim-600M", "AIM-1B": "apple/aim-1B", "AIM-3B": "apple/aim-3B", "AIM-7B": "apple/aim-7B",
}  # fmt: skip


def chosen(only: tuple[str, ...]) -> list[Benchmark]:
    """The benchmarks of these names, in the registry's order; all when none is named. UserError for an unknown one."""
    names = [name for entry in only for name in entry.split(",") if name]
    known = {benchmark.name: benchmark for benchmark in BENCHMARKS}
    if unknown := [name for name in names if name not in known]:
        asked = ", ".join(f"{shown(name)}{did_you_mean(name, known)}" for name in unknown)
        raise UserError(f"no benchmark {asked}; there are {', '.join(known)}")
    return [benchmark for benchmark in BENCHMARKS if not names or benchmark.name in names]
