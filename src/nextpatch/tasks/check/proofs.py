"""The proofs: what a next-patch objective must do, each with the reason in words when it does not.

Source: paper, sections 4.1 and 4.2. Two libraries that offer AIM were found to train something else: one compares
output i with patch i, which it sees (a copy task), the other inverts the attention mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nextpatch.tasks.check.observe import Observed, observe
from nextpatch.tasks.check.subject import Subject


@dataclass(frozen=True)
class Verdict:
    """One claim, and why it does not hold (empty when it does)."""

    claim: str
    reason: str = ""

    @property
    def holds(self) -> bool:
        """No reason was found against it."""
        return not self.reason


def prove(subject: Subject) -> list[Verdict]:
    """Every proof on `subject`, at prefix lengths 1, some in between and K - 1."""
    observed = [observe(subject, prefix) for prefix in prefixes(subject.num_patches)]
    by_gradient: list[tuple[str, Callable[[Subject, Observed], str]]] = [
        ("every scored prediction is compared with exactly one patch, and it is the NEXT one", _next_patch),
        ("no scored prediction sees its target or a later patch", _no_leak),
        ("every prediction sees all patches before its target", _nothing_hidden),
        ("exactly the patches after the prefix are scored, once each", _scored),
        (f"the prefix is seen as {subject.attention} attention promises", _prefix_attention),
    ]
    verdicts = []
    for claim, proof in by_gradient:
        reasons = (proof(subject, one) for one in observed)
        verdicts.append(Verdict(claim, next((reason for reason in reasons if reason), "")))
    return [
        *verdicts,
        Verdict("one denominator: every scored patch of the batch weighs the same", _one_denominator(subject)),
        Verdict("constant patches give a finite loss and finite gradients", _constant(subject)),
    ]


def prefixes(num_patches: int) -> list[int]:
    """1, a third, a half and K - 1, without repetition."""
    return sorted({1, max(1, num_patches // 3), max(1, num_patches // 2), num_patches - 1})


def _next_patch(subject: Subject, seen: Observed) -> str:
    if not seen.pairs:
        return f"with a prefix of {seen.prefix} no prediction is compared with any patch: nothing is learned"
    for output, patches in seen.pairs:
        if len(patches) != 1:
            return f"output {output} is compared with patches {patches}; it must be one"
        [target] = patches
        if target == output + 1:
            continue
        if target == output and seen.sees[output, target]:
            return (
                f"output {output} is compared with patch {target}, which it sees: the one-patch shift is missing and "
                "the model learns to copy"
            )
        if _raster_alone(subject, seen):
            return _LOSS_ALONE
        return f"output {output} is compared with patch {target} of the sequence, not with patch {output + 1}"
    return ""


_LOSS_ALONE = (
    "the loss follows the order but what the outputs see follows the raster: only the loss was permuted. Permute "
    "tokens, positions and targets together"
)


def _no_leak(subject: Subject, seen: Observed) -> str:
    for output, patches in seen.pairs:
        later = [k for k in seen.sees[output].nonzero().flatten().tolist() if k >= min(patches)]
        if not later:
            continue
        if _raster_alone(subject, seen):
            return _LOSS_ALONE
        why = "the attention mask is inverted" if _blind(seen) else "the attention mask lets it look ahead"
        if later == patches == [output]:
            why = "the one-patch shift is missing"
        return f"output {output} must predict patch {patches[0]} but sees {_some(later)}: {why}"
    return ""


def _blind(seen: Observed) -> bool:
    """Whether some output that looks ahead does so instead of looking back."""
    return any(not seen.sees[output, : min(patches)].all() for output, patches in seen.pairs)


def _nothing_hidden(subject: Subject, seen: Observed) -> str:
    for output, patches in seen.pairs:
        hidden = [k for k in range(min(patches)) if not seen.sees[output, k]]
        if hidden:
            if _raster_alone(subject, seen):
                return _LOSS_ALONE
            return f"output {output} must predict patch {patches[0]} but does not see {_some(hidden)} before it"
    return ""


def _scored(subject: Subject, seen: Observed) -> str:
    targets = sorted(target for _, patches in seen.pairs for target in patches)
    inside = [k for k in targets if k < seen.prefix]
    if inside:
        return f"with a prefix of {seen.prefix}, {_some(inside)} inside it are scored although they are given"
    wanted = list(range(seen.prefix, subject.num_patches))
    if targets != wanted:
        missing, extra = sorted(set(wanted) - set(targets)), [k for k in wanted if targets.count(k) > 1]
        what = f"{_some(missing)} are not scored" if missing else f"{_some(extra)} are scored more than once"
        return f"with a prefix of {seen.prefix}, {what}"
    return ""


def _prefix_attention(subject: Subject, seen: Observed) -> str:
    """Outputs inside the prefix see all of it (prefix attention), or only what comes before them (causal)."""
    for output in range(seen.prefix):
        row = seen.sees[output]
        hidden = [k for k in range(seen.prefix) if not row[k]]
        ahead = [k for k in row.nonzero().flatten().tolist() if k > output]
        if subject.attention == "prefix" and hidden:
            return f"with a prefix of {seen.prefix}, output {output} does not see {_some(hidden)} of it"
        if subject.attention == "causal" and ahead:
            return f"output {output} sees {_some(ahead)}, although attention is causal"
    return ""


def _raster_alone(subject: Subject, seen: Observed) -> bool:
    """Whether an order other than raster is asked for, and outputs after the prefix see as in raster order."""
    order = torch.tensor(subject.order)
    if torch.equal(order, torch.arange(len(order))):
        return False
    raster = seen.sees[:, order.argsort()]
    late = torch.arange(len(raster)) >= seen.prefix - 1
    causal = torch.ones(len(raster), subject.num_patches, dtype=torch.bool).tril()
    return torch.equal(raster[late], causal[late])


def _one_denominator(subject: Subject) -> str:
    """The loss of a batch is that of its images weighted by how many patches each scores: 1, K / 2 and K - 1 here."""
    count = subject.num_patches
    lengths = torch.tensor([count - 1, count // 2, 1])[: len(subject.images)]
    with torch.no_grad():
        predictions = subject.predict(subject.images, lengths)
        whole = float(subject.loss(predictions, subject.images, lengths))
        parts = [
            float(subject.loss(predictions[i : i + 1], subject.images[i : i + 1], lengths[i : i + 1]))
            for i in range(len(lengths))
        ]
    weights = (count - lengths).double()
    expected = float((torch.tensor(parts, dtype=torch.float64) * weights).sum() / weights.sum())
    if abs(whole - expected) <= 1e-5 * abs(expected):
        return ""
    return (
        f"the loss of a batch is {whole:.6g}; the mean over all its scored patches is {expected:.6g}: images with few "
        "scored patches do not weigh what they should, and the result depends on how a batch is split"
    )


def _constant(subject: Subject) -> str:
    images = torch.ones_like(subject.images).requires_grad_()
    prefix_len = torch.ones(len(images), dtype=torch.int64)
    loss = subject.loss(subject.predict(images, prefix_len), images, prefix_len)
    (gradient,) = torch.autograd.grad(loss, images)
    if not (bool(loss.isfinite()) and bool(gradient.isfinite().all())):
        return "an image of one color gives a loss or gradient that is not finite: is there an eps under the variance?"
    return ""


def _some(patches: list[int]) -> str:
    shown = ", ".join(map(str, patches[:4])) + (" ..." if len(patches) > 4 else "")
    return f"patch{'es' if len(patches) > 1 else ''} {shown}"


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference over the norm."""
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm().clamp_min(1e-300))
