"""Neighbors of images by what makes one vector of an image, and by the space in which vectors are compared.

    python benchmarks/neighbors.py WEIGHTS INDEX QUERIES [--images 10000] [--queries 2000] [--rows 300 1000]

INDEX and QUERIES are labeled collections, of which that many images are drawn with seed 0. Reported is the share, in
percent, of the 1, 5 and 10 nearest images that are of the query's class, averaged over queries: for every pooling of
`nextpatch embed` and for raw pixels, in every space of `nextpatch similar`, and for cosines of the vectors as they are.
`--rows` repeats it with smaller indexes, parts of the first. Figures: docs/log.md.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor

import nextpatch
from nextpatch.data.loader import eval_batches
from nextpatch.data.sources.open import open_source
from nextpatch.tasks.embed.nearest import fitted
from nextpatch.weights.backbone import Backbone

KS = (1, 5, 10)


@torch.no_grad()
def vectors(model: Backbone, name: str, count: int) -> tuple[dict[str, Tensor], Tensor]:
    """By pooling, "images values", rounded as in files; and the classes of the images."""
    source, about = open_source(name), model.about
    chosen = np.sort(np.random.default_rng(0).permutation(len(source))[:count])
    found: dict[str, list[Tensor]] = {}
    classes: list[int] = []
    for batch in eval_batches(source, chosen, about.img_size, about.in_chans, 256, preprocessing=about.preprocessing):
        patches = model.read(batch.images)
        made = {"mean": patches.mean(dim=1), model.regions.name: model.regions(patches)}
        if model.classifier is not None:
            made["attention"] = model.classifier.pooled(patches)
        for pool, values in {**made, "raw pixels": batch.images.flatten(1) / 255}.items():
            found.setdefault(pool, []).append(values.half().float())
        classes += [source.label(place) for place in batch.positions.tolist()]
    return {pool: torch.cat(parts) for pool, parts in found.items()}, torch.tensor(classes)


def precision(index: Tensor, queries: Tensor, right: Tensor, wanted: Tensor) -> str:
    """In percent at every k; index and queries of length 1."""
    hits = (right[(queries @ index.T).topk(max(KS), dim=1).indices] == wanted[:, None]).float()
    return ", ".join(f"{100 * float(hits[:, :k].mean()):.1f}" for k in KS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("index")
    parser.add_argument("to_find")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--rows", type=int, nargs="*", default=[])
    args = parser.parse_args()
    model = nextpatch.load(args.weights)
    index, right = vectors(model, args.index, args.images)
    queries, wanted = vectors(model, args.to_find, args.queries)
    print(f"{model.about.name}, {', '.join(model.about.layers)}: {len(right):,} images, {len(wanted):,} queries")
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(right)))
    for count in (*args.rows, len(right)):
        for pool, values in index.items():
            rows, asked, some = values[order[:count]], queries[pool], right[order[:count]]
            lengths = (torch.nn.functional.normalize(part, dim=1) for part in (rows, asked))
            shown = {"as they are": precision(*lengths, some, wanted)}
            for space in ("standardized", "whitened"):
                there = fitted(rows, space)
                shown[space] = precision(there(rows), there(asked), some, wanted)
            print(f"{count:,} | {pool} ({rows.shape[1]:,}) | {' | '.join(shown.values())}", flush=True)


if __name__ == "__main__":
    main()
