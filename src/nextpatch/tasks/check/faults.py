"""Known faults, recognized from what was observed: a wrong order or a wrong mask explains every single deviation.

Sources: apple/ml-l3m at e6376a3 permutes the loss and not the sequence; two more are at the top of `proofs`.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from nextpatch.tasks.check.observe import Observed, listed
from nextpatch.tasks.check.told import some


def order_fault(seen: Observed) -> str:
    """What is wrong with the order as a whole; empty where nothing is or no order but raster is claimed."""
    sequence = _claimed(seen)
    if sequence is None or torch.equal(sequence, torch.arange(len(sequence))):
        return ""
    return _loss_alone(seen) or _inverse(seen, sequence)


def blind(seen: Observed) -> bool:
    """Whether some output that looks ahead does so instead of looking back: a mask that is inverted."""
    return any(hidden_from(seen, output) for output, _ in seen.pairs)


def hidden_from(seen: Observed, output: int) -> list[int]:
    """What an output may see and does not."""
    if output >= len(seen.may_see):
        return []
    return listed(seen.may_see[output] & ~seen.sees[output] & ~seen.compared[output])


def _claimed(seen: Observed) -> Int[Tensor, " patches"] | None:
    """The sequence of the patches if each place is for the next one; None where places are for something else."""
    rest = set(range(len(seen.given))) - set(seen.target.tolist())
    if len(rest) != 1 or len(seen.target) != len(seen.given) - 1:
        return None
    return torch.cat([torch.tensor([*rest]), seen.target])


def _loss_alone(seen: Observed) -> str:
    """Scored outputs see as in raster order: ml-l3m's fault."""
    raster = torch.ones_like(seen.sees).tril()
    late = torch.arange(len(raster)) >= int(seen.scored.int().argmax())
    if not torch.equal(seen.sees[late], raster[late]):
        return ""
    output, patches = next((pair for pair in seen.pairs if bool(seen.sees[pair[0], pair[1]].any())), seen.pairs[0])
    leak = ", its target among them" if bool(seen.sees[output, patches].any()) else ""
    return (
        f"output {output} is compared with patch {patches[0]} and sees {some(listed(seen.sees[output]))}{leak}: the "
        "loss follows the order, but the sequence is not permuted and what an output sees follows the raster. So only "
        "the loss was permuted, and targets leak. Permute patches, positions and targets together"
    )


def _inverse(seen: Observed, sequence: Int[Tensor, " patches"]) -> str:
    """Every output is compared with the patch that follows in the order's inverse."""
    inverse = sequence.argsort()
    if torch.equal(inverse, sequence):
        return ""
    if any(output + 1 >= len(inverse) or patches != [int(inverse[output + 1])] for output, patches in seen.pairs):
        return ""
    output, patches = seen.pairs[0]
    return (
        f"output {output} is compared with {some(patches)}, not with patch {int(seen.target[output])}: the sequence "
        "follows the inverse of the order. Entry i of an order is the raster index of the i-th patch: patches[:, order]"
    )
