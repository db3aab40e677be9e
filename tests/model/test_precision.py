"""bfloat16 matrix products with float32 norms and loss, and faster paths that give equal results."""

import pytest
import torch
import torch.nn.functional as F

from losses import loss_sum
from nextpatch.model.aim import AIM
from nextpatch.model.attention import attend, causal_mask
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.model.layers import LayerNorm
from nextpatch.model.precision import autocast, device_of, resolve_device, resolve_precision

CPU = torch.device("cpu")


def _relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


@pytest.fixture
def model() -> AIM:
    built = AIM(ModelConfig(size="nano", img_size=(24, 24), patch_size=4, in_chans=1))
    init_weights(built, 0)
    return built


def test_norm_inputs_are_float32_under_bfloat16(model: AIM) -> None:
    seen: list[torch.dtype] = []
    for module in model.modules():
        if isinstance(module, LayerNorm):
            module.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    with autocast(CPU, "bf16"):
        loss = loss_sum(model, torch.randn(2, 1, 24, 24), torch.tensor([3, 30]))
    assert loss.dtype == torch.float32
    # only the patch projection's own output is half precision, and LayerNorm widens it before it computes
    assert seen.count(torch.bfloat16) == 1
    assert seen[0] == torch.bfloat16


def test_norm_weight_gradients_from_bfloat16_inputs_are_those_of_float32() -> None:
    x = torch.randn(4096, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    upstream = torch.randn(4096, 64, generator=torch.Generator().manual_seed(1))
    grads = []
    for value in (x, x.float()):
        norm = LayerNorm(64)
        (norm(value) * upstream).sum().backward()
        grads.append(norm.weight.grad)
    assert torch.equal(grads[0], grads[1])


@pytest.mark.parametrize("mode", ["prefix", "causal"])
def test_bfloat16_loss_and_gradients_stay_near_float32(model: AIM, mode: str) -> None:
    images, prefix_len = torch.randn(4, 1, 24, 24), torch.tensor([1, 5, 20, 35])
    grads, losses = [], []
    for precision in ("fp32", "bf16"):
        model.zero_grad()
        with autocast(CPU, precision):
            loss = loss_sum(model, images, prefix_len)
        loss.backward()
        losses.append(loss.detach())
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert _relative(losses[1], losses[0]) < 2e-3
    assert _relative(grads[1], grads[0]) < 3e-2


@pytest.mark.parametrize("masked", [True, False])
def test_written_out_attention_is_as_exact_as_the_fused_kernel(masked: bool) -> None:
    q, k, v = (torch.randn(2, 3, 40, 64, generator=torch.Generator().manual_seed(i)).bfloat16() for i in range(3))
    mask = causal_mask(40, CPU) if masked else None
    exact = F.scaled_dot_product_attention(
        q.double(), k.double(), v.double(), attn_mask=None if mask is None else mask.double()
    )
    fused = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask.bfloat16())
    assert _relative(attend(q, k, v, mask), exact) < 3 * _relative(fused, exact)


def test_automatic_choices_are_possible_here() -> None:
    device = resolve_device("auto")
    assert resolve_precision("auto", device) in ("fp32", "bf16")
    assert resolve_precision("fp32", device) == "fp32"
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="'cuda' is not available here; this machine has"):
            resolve_device("cuda")
        with pytest.raises(ValueError, match="'cuda' is not available here"):
            device_of("cuda:0")
    with pytest.raises(ValueError, match="device 'gpu' is unknown"):
        device_of("gpu")
    assert device_of("cpu") == device_of(CPU) == CPU
