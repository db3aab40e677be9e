"""The proofs: what an implementation must do to be what its objective claims, each with the reason when it is not.

Source: paper, sections 4.1 and 4.2. Two libraries that offer AIM were found to train something else: one compares
output i with patch i, which it sees (a copy task), the other inverts the attention mask.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nextpatch.tasks.check.codes import prove_codes
from nextpatch.tasks.check.faults import blind, hidden_from, order_fault
from nextpatch.tasks.check.observe import Observed, listed, observe
from nextpatch.tasks.check.subject import Subject
from nextpatch.tasks.check.told import Verdict, are, some


def prove(subject: Subject) -> list[Verdict]:
    """Every proof on `subject`, with each of its draws."""
    draws, words = subject.draws, subject.claims.words
    observed = [observe(subject, draws.part(i, i + 1)) for i in range(draws.batch_size)]
    by_draw: list[tuple[str, Callable[[Subject, Observed], str]]] = [
        (f"every scored prediction is compared with exactly one patch, and it is {words.target}", _right_target),
        (f"no scored prediction sees {words.hidden}", _no_leak),
        (f"every prediction sees {words.visible}", _nothing_hidden),
        (f"exactly {words.scored} are scored, once each", _scored),
        (words.unscored, _unscored),
    ]
    verdicts = []
    for claim, proof in by_draw:
        reasons = (proof(subject, one) for one in observed)
        verdicts.append(Verdict(claim, next((reason for reason in reasons if reason), "")))
    return [
        *verdicts,
        *([] if subject.codes is None else prove_codes(subject, subject.codes)),
        Verdict("every scored patch of a batch has the same weight in the loss", _one_denominator(subject)),
        Verdict("images of one color give a finite loss and finite gradients", _constant(subject)),
    ]


def _right_target(subject: Subject, seen: Observed) -> str:
    if not seen.finite:
        return f"with {seen.told} the loss, or its derivative by the predictions, is not a finite number"
    if not seen.pairs:
        return f"with {seen.told} no prediction is compared with any patch: nothing is learned"
    for output, patches in seen.pairs:
        if len(patches) != 1:
            return f"output {output} is compared with {some(patches)}; it must be one{_of_codes(subject)}"
        [found] = patches
        if output < len(seen.target) and found == seen.target[output]:
            continue
        if fault := order_fault(seen):
            return fault
        if seen.sees[output, found]:
            why = f"{subject.claims.words.copying} and the model learns to copy"
            return f"output {output} is compared with patch {found}, which it sees: {why}"
        wanted = f"with patch {int(seen.target[output])}" if output < len(seen.target) else "with any"
        return f"output {output} is compared with patch {found}, not {wanted}"
    return ""


def _of_codes(subject: Subject) -> str:
    hint = ". If targets are codes, which may depend on many patches, name what gives them: codes are replaced then"
    return hint if subject.codes is None else ""


def _no_leak(subject: Subject, seen: Observed) -> str:
    for output, patches in seen.pairs:
        leaked = listed(seen.sees[output] & (seen.compared[output] | ~_allowed(seen, output)))
        if not leaked:
            continue
        if fault := order_fault(seen):
            return fault
        why = _why_it_leaks(subject, seen, output, patches)
        return f"output {output} must predict patch {patches[0]} but sees {some(leaked)}: {why}"
    return ""


def _why_it_leaks(subject: Subject, seen: Observed, output: int, patches: list[int]) -> str:
    words = subject.claims.words
    if blind(seen):
        return words.inverted
    if not bool(_allowed(seen, output)[patches].all()):
        return words.leaking
    right = output < len(seen.target) and patches == [int(seen.target[output])]
    return "it should not be scored, the patch is given" if right else words.copying


def _allowed(seen: Observed, output: int) -> Tensor:
    """What an output may see; one that is no place's has no claim."""
    return seen.may_see[output] if output < len(seen.may_see) else torch.ones_like(seen.given)


def _nothing_hidden(subject: Subject, seen: Observed) -> str:
    for output, patches in seen.pairs:
        if hidden := hidden_from(seen, output):
            if fault := order_fault(seen):
                return fault
            return f"output {output} must predict patch {patches[0]} but does not see {some(hidden)} before it"
    return ""


def _scored(subject: Subject, seen: Observed) -> str:
    targets = sorted(target for _, patches in seen.pairs for target in patches)
    if inside := [k for k in targets if seen.given[k]]:
        return f"with {seen.told}, {are(inside)} scored although given"
    wanted = sorted(seen.target[seen.scored].tolist())
    if targets != wanted:
        missing, extra = sorted(set(wanted) - set(targets)), [k for k in wanted if targets.count(k) > 1]
        what = f"{are(missing)} not scored" if missing else f"{are(extra)} scored more than once"
        return f"with {seen.told}, {what}"
    return ""


def _unscored(subject: Subject, seen: Observed) -> str:
    """Outputs that are not scored, as those inside a prefix, see what they may and nothing else."""
    for place in listed(~seen.scored):
        may, does = seen.may_see[place], seen.sees[place]
        if hidden := listed(may & ~does):
            return f"with {seen.told}, output {place}, which is not scored, does not see {some(hidden)}"
        if more := listed(does & ~may):
            return f"with {seen.told}, output {place}, which is not scored, sees {some(more)} too"
    return ""


def _one_denominator(subject: Subject) -> str:
    """The loss of a batch is that of its images weighted by how many patches each scores."""
    draws = subject.draws
    images = subject.images[torch.arange(draws.batch_size) % len(subject.images)]
    with torch.no_grad():
        predictions = subject.predict(images, draws)
        whole = float(subject.loss(predictions, images, draws))
        parts = [
            float(subject.loss(predictions[i : i + 1], images[i : i + 1], draws.part(i, i + 1)))
            for i in range(len(images))
        ]
    weights = subject.claims.scored(draws).sum(dim=1).double()
    expected = float((torch.tensor(parts, dtype=torch.float64) * weights).sum() / weights.sum())
    if abs(whole - expected) <= 1e-5 * abs(expected):
        return ""
    return (
        f"the loss of a batch is {whole:.6g}; the mean over all its scored patches is {expected:.6g}: images with few "
        "scored patches do not weigh what they should, and the result depends on how a batch is split"
    )


def _constant(subject: Subject) -> str:
    draws = subject.draws
    plain = torch.ones_like(
        subject.images[:1]
    )  # whose variance is 0 to the last bit, as that of other values need not be
    if subject.color is not None:
        plain = plain * subject.color[:, None, None]
    images = plain.repeat(draws.batch_size, 1, 1, 1).requires_grad_()
    loss = subject.loss(subject.predict(images, draws), images, draws)
    (gradient,) = torch.autograd.grad(loss, images)
    if not (bool(loss.isfinite()) and bool(gradient.isfinite().all())):
        return "an image of one color gives a loss or gradient that is not finite: is there an eps under the variance?"
    return ""
