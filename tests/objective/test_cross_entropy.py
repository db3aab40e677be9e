"""The cross-entropy in pieces: the plain one, to rounding, in any format and with bounded memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextpatch.objective.targets import cross_entropy as module
from nextpatch.objective.targets.cross_entropy import cross_entropy, cross_entropy_sum, kept_bytes, passing_bytes
from peak import grows_at_most


def layer(width: int, codes: int, dtype: torch.dtype = torch.float64) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(width, codes).to(dtype)


def both(hidden: Tensor, last: nn.Linear, loss: Tensor) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(3 * loss, [hidden, last.weight, last.bias])]


@pytest.mark.parametrize("piece", [1, 11, 33, 10**6])
@pytest.mark.parametrize("rows", [0, 1, 7, 64])
def test_in_pieces_it_is_the_plain_one_with_its_gradients(
    piece: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", piece)
    last, hidden = layer(5, 11), torch.randn(rows, 5, dtype=torch.float64, requires_grad=True)
    codes = torch.randint(0, 11, (rows,))
    logits = hidden @ last.weight.T + last.bias
    by_hand = (logits.exp().sum(dim=1).log() - logits[torch.arange(rows), codes]).sum()
    found = both(hidden, last, cross_entropy_sum(hidden, last, codes))
    for ours, theirs in zip(found, both(hidden, last, by_hand), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-14)


def test_in_bfloat16_products_are_but_the_loss_is_float32() -> None:
    last, hidden = layer(64, 300, torch.float32), 5 * torch.randn(200, 64)
    hidden.requires_grad_()
    codes = torch.randint(0, 300, (200,))
    with torch.autocast("cpu", torch.bfloat16):
        plain = F.cross_entropy(last(hidden).float(), codes, reduction="sum")
        ours = cross_entropy_sum(hidden, last, codes)
        assert last(hidden).dtype == torch.bfloat16
        assert cross_entropy(last(hidden), codes).dtype == torch.float32
    assert ours.dtype == torch.float32
    found, theirs = both(hidden, last, ours), both(hidden, last, plain)
    torch.testing.assert_close(found[0], theirs[0], rtol=1e-6, atol=0)  # the same logits, summed in another order
    for one, other in zip(found[1:], theirs[1:], strict=True):
        assert one.dtype == torch.float32
        assert float((one - other).norm() / other.norm()) < 0.01


def test_its_gradient_can_be_asked_for_once_and_without_grad_is_not_made() -> None:
    last, hidden = layer(5, 11), torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    loss = cross_entropy_sum(hidden, last, torch.zeros(7).long())
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="asked for once"):
        loss.backward()
    with torch.no_grad():
        assert not cross_entropy_sum(hidden, last, torch.zeros(7).long()).requires_grad


def test_at_the_papers_size_the_formula_stays_below_a_gib() -> None:
    """8,192 codes, 64 images of 256 patches, the head 2048 wide."""
    rows = 64 * 255
    for number in (2, 4):
        assert kept_bytes(rows, 2048, 8192) + passing_bytes(rows, 2048, 8192, number) < 2**30
    assert 3 * 4 * rows * 8192 > 1.4 * 2**30  # what logits, their softmax and gradient would be at once


@pytest.mark.slow
def test_at_the_papers_size_the_last_layer_takes_less_than_a_gib() -> None:
    last, hidden = layer(2048, 8192, torch.float32), torch.randn(64 * 255, 2048, requires_grad=True)
    codes = torch.randint(0, 8192, (len(hidden),))
    with grows_at_most(2**30 - hidden.nbytes):  # which are there before, and counted
        cross_entropy_sum(hidden, last, codes).backward()
