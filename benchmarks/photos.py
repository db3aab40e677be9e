"""Photos like those that image models are trained on, made from wallpapers: the material of benchmarks/data.py.

    python benchmarks/photos.py OUT [--count 150]        needs Debian's plasma-workspace-wallpapers, or --from FOLDER

Two sets, the same for the same wallpapers. `in_*.jpg` are like ImageNet's: 500 x 375 (or upright) with a sensor's
noise, quality 88 to 95, some 85 KB. `dfn_*.jpg` are like what img2dataset leaves of web images: the longer side 512,
less noise, quality 95, some 60 KB. Both 4:2:0 baseline, as most of the web is.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean

import numpy as np
from PIL import Image

WALLPAPERS = Path("/usr/share/wallpapers")
MAKES = ("in", "dfn")


def make_photos(out: Path, count: int, wallpapers: Path = WALLPAPERS) -> dict[str, list[Path]]:
    """`count` photos of each make in `out`, made unless they are there; paths by make."""
    made = {make: [out / f"{make}_{i:04d}.jpg" for i in range(count)] for make in MAKES}
    if all(path.exists() for paths in made.values() for path in paths):
        return made
    found = sorted(p for kind in ("jpg", "png") for p in wallpapers.rglob(f"contents/images*/*.{kind}"))
    pictures = [p for p in found if min(Image.open(p).size) >= 700]
    if not pictures:
        raise SystemExit(f"no wallpapers in {wallpapers}; apt-get install plasma-workspace-wallpapers, or give --from")
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(np.resize(np.arange(len(pictures)), count))
    for i, number in enumerate(order.tolist()):
        with Image.open(pictures[number]) as opened:
            picture = opened.convert("RGB")
        for make in MAKES:
            photo, quality = photo_of(picture, make, rng)
            photo.save(made[make][i], "JPEG", quality=quality, subsampling="4:2:0")
    return made


def photo_of(picture: Image.Image, make: str, rng: np.random.Generator) -> tuple[Image.Image, int]:
    """(a photo cut out of a wallpaper, the quality to save it with)."""
    if make == "in":
        size, noise, quality = (500, 375), rng.uniform(6, 10), int(rng.integers(88, 96))
    else:
        size, noise, quality = (512, int(rng.integers(288, 513))), rng.uniform(0, 0.4), 95
    width, height = size if rng.random() < 0.75 else size[::-1]
    largest = min(picture.width / width, picture.height / height)
    scale = rng.uniform(max(0.5, largest / 3), largest)
    left = rng.uniform(0, picture.width - width * scale)
    top = rng.uniform(0, picture.height - height * scale)
    box = (left, top, left + width * scale, top + height * scale)
    cut = picture.resize((width, height), Image.Resampling.LANCZOS, box=box)
    grain = rng.normal(0, noise, (height, width, 1)) + rng.normal(0, noise / 2, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(cut) + grain, 0, 255).astype(np.uint8)), quality


def main() -> None:
    """Make both sets and say how large their files are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--from", dest="wallpapers", type=Path, default=WALLPAPERS)
    args = parser.parse_args()
    for make, paths in make_photos(args.out, args.count, args.wallpapers).items():
        print(f"{make}: {len(paths)} photos, {mean(path.stat().st_size for path in paths) / 1000:.0f} KB on average")


if __name__ == "__main__":
    main()
