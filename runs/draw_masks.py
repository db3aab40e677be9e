"""Draw docs/masks.svg: who sees whom under causal, prefix and bidirectional attention, the last with masked patches."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from nextpatch.model.config import ModelConfig
from nextpatch.objective.masked import Masked, with_masked
from nextpatch.objective.next_patch import NextPatch, with_prefix

PICTURE = Path(__file__).parents[1] / "docs" / "masks.svg"
PATCHES, PREFIX, HIDDEN = 8, 3, (1, 2, 5, 7)
CELL, GAP, TOP, LEFT = 20, 48, 62, 40  # pixels
SEEN, HIDES, SCORED = "rgb(68,84,170)", "#ededed", "rgb(233,150,40)"


def causal() -> tuple[Tensor, Tensor]:
    """(which tokens the output at each token may attend to, which outputs are scored)."""
    tokens = torch.ones(PATCHES, PATCHES, dtype=torch.bool).tril()
    return tokens, _scored(NextPatch(_config(attention="causal")), torch.tensor([1]))


def prefix() -> tuple[Tensor, Tensor]:
    """The same with a prefix."""
    length = torch.tensor([PREFIX])
    tokens = torch.ones(PATCHES, PATCHES, dtype=torch.bool).tril() | (torch.arange(PATCHES) < PREFIX)
    return tokens, _scored(NextPatch(_config()), length)


def masked() -> tuple[Tensor, Tensor]:
    """The same where everything is attended to."""
    hidden = torch.isin(torch.arange(PATCHES), torch.tensor(HIDDEN))
    scored = Masked(_config(objective="masked")).scored(with_masked(hidden[None]))[0]
    return torch.ones(PATCHES, PATCHES, dtype=torch.bool), scored


def _config(**values: str) -> ModelConfig:
    return ModelConfig("nano", (1, PATCHES), 1, 3, **values)


def _scored(objective: NextPatch, length: Tensor) -> Tensor:
    return torch.cat([objective.scored(with_prefix(length))[0], torch.tensor([False])])


PANELS = (
    ("causal", "each token and those before it", causal, ()),
    ("prefix of 3 patches", "and every token of the prefix", prefix, ()),
    ("bidirectional, masked", "M: the mask token, no pixels", masked, HIDDEN),
)


def panel(title: str, says: str, tokens: Tensor, scored: Tensor, hidden: tuple[int, ...], left: float) -> list[str]:
    """One mask as SVG: a row for each output, a column for each token; scored outputs have a bar beside them."""
    parts = [
        f'<text x="{left}" y="16" font-size="14" font-weight="600" fill="#222">{title}</text>',
        f'<text x="{left}" y="33" font-size="11" fill="#555">{says}</text>',
    ]
    for i in range(PATCHES):
        at, name = left + i * CELL + CELL / 2 - 0.5, "M" if i in hidden else str(i + 1)
        parts.append(f'<text x="{at}" y="{TOP - 6}" font-size="10" text-anchor="middle" fill="#555">{name}</text>')
        y = TOP + i * CELL
        for k in range(PATCHES):
            colour = SEEN if tokens[i, k] else HIDES
            opacity = ' fill-opacity="0.35"' if tokens[i, k] and k in hidden else ""
            place = f'x="{left + k * CELL}" y="{y}" width="{CELL - 1}" height="{CELL - 1}"'
            parts.append(f'<rect {place} fill="{colour}"{opacity}/>')
        if scored[i]:
            parts.append(f'<rect x="{left - 9}" y="{y}" width="5" height="{CELL - 1}" fill="{SCORED}"/>')
        number = f'x="{left - 13}" y="{y + CELL / 2 + 3}"'
        parts.append(f'<text {number} font-size="10" text-anchor="end" fill="#555">{i + 1}</text>')
    return parts


def drawing() -> str:
    """All of them, side by side."""
    wide = PATCHES * CELL + GAP
    width, height = LEFT + len(PANELS) * wide - GAP + 24, TOP + PATCHES * CELL + 28
    parts = [
        line
        for i, (title, says, found, hidden) in enumerate(PANELS)
        for line in panel(title, says, *found(), hidden, LEFT + i * wide)
    ]
    foot = (
        f'<rect x="{LEFT - 9}" y="{height - 17}" width="5" height="11" fill="{SCORED}"/>'
        f'<text x="{LEFT}" y="{height - 8}" font-size="11" fill="#555">this output is scored. Rows: outputs. Columns: '
        "tokens.</text>"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    white = '<rect width="100%" height="100%" fill="#fff"/>'
    return "\n".join([f'{head} font-family="sans-serif">', white, *parts, foot, "</svg>", ""])


def main() -> None:
    """Write it, or to the place that is given."""
    (Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE).write_text(drawing())


if __name__ == "__main__":
    main()
