"""A colour collection for experiments: public-domain clip art, by what it shows, from a Debian package.

    apt-get download openclipart-png && dpkg-deb -x openclipart-png_*.deb clipart
    python benchmarks/clipart.py clipart/usr/share/openclipart/png OUT

writes OUT/train/CLASS and OUT/test/CLASS, 64 x 64 px on white, and OUT/unlabeled with all pictures but those of the
classes' test side: what a user has who labelled some of their pictures. The same files for the same package. A picture
whose pixels are those of an earlier one is left out, and pictures of one series (`bear_01`, `bear_02`) go to one side
of the split, so that no test picture has its twin in training. Nothing of it is shipped: it is 130 MB.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections import Counter
from pathlib import Path

from PIL import Image

SIDE = 64
MOST, TEST = 400, 150  # pictures of a class: icons and stars are four times as many as anything else
CLASSES = {
    "animals": ("animals",),
    "flags": ("signs_and_symbols/flags",),
    "food": ("food",),
    "icons": ("computer/icons",),
    "people": ("people",),
    "recreation": ("recreation",),
    "stars": ("shapes/stars",),
    "things": ("office", "tools", "electronics", "containers"),
    "transportation": ("transportation",),
}


def main() -> None:
    """Read the package's pictures, write the folders, print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = 250_000_000  # a poster is among them
    counts, seen = Counter[str](), set[bytes]()
    files = sorted(path for path in given.source.rglob("*.png") if not path.is_symlink())
    for path in sorted(files, key=lambda path: _rank(str(path.relative_to(given.source)))):
        small = _small(path)
        if small is None or (digest := hashlib.sha256(small.tobytes()).digest()) in seen:
            counts["damaged or there already"] += 1
            continue
        seen.add(digest)
        where = str(path.relative_to(given.source).with_suffix(""))
        name = where.replace("/", "-") + ".png"
        for folder in _folders(where, counts):
            counts[folder] += 1
            (given.out / folder).mkdir(parents=True, exist_ok=True)
            small.save(given.out / folder / name)
    for folder, count in sorted(counts.items()):
        print(f"{count:6,}  {folder}")


def _folders(where: str, counts: Counter[str]) -> list[str]:
    """To which folders a picture goes."""
    label = next((name for name, starts in CLASSES.items() if where.startswith(tuple(f"{s}/" for s in starts))), None)
    series = re.sub(r"[\W_\d]+$", "", where)
    test = _rank(series) < "5"  # five of sixteen
    if label is None:
        return ["unlabeled"]
    part = "test" if test else "train"
    full = counts[f"{part}/{label}"] >= (TEST if test else MOST)
    found = [] if full else [f"{part}/{label}"]
    return found if test else [*found, "unlabeled"]


def _rank(text: str) -> str:
    """An order by chance that is the same everywhere."""
    return hashlib.sha256(text.encode()).hexdigest()


def _small(path: Path) -> Image.Image | None:
    """The picture on a white square; None for what cannot be read."""
    try:
        with Image.open(path) as image:
            image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            picture = image.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    square = Image.new("RGBA", (SIDE, SIDE), "white")
    square.alpha_composite(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    return square.convert("RGB")


if __name__ == "__main__":
    main()
