"""Linear layers and the MLP on rows, written out for CPUs.

On a CPU these layers cost memory traffic more than arithmetic: the hidden rows of the MLP are four times as wide as
its input, and autograd keeps them twice. Here a few rows at a time pass through the whole MLP while they are in the
cache, and the backward pass computes them again. Matrix products in float32 go to oneDNN, which uses the widest
vector instructions on every make of processor.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable

HIDDEN_IN_CACHE = 1 << 18  # numbers of the widest layer that each thread holds at once
_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def written_out(tensor: Tensor) -> bool:
    """Whether the functions here serve this tensor: full precision on a CPU, outside autocast."""
    plain = tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)
    return plain and not torch.is_autocast_enabled("cpu")


def linear(
    rows: Float[Tensor, "rows inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None = None,
) -> Float[Tensor, "rows outputs"]:
    """`torch.nn.functional.linear`."""
    if not written_out(rows):
        return F.linear(rows, weight, bias)
    return _Linear.apply(rows.contiguous(), weight, bias)


def mlp(rows: Float[Tensor, "rows channels"], norm: nn.LayerNorm, first: nn.Linear, second: nn.Linear) -> Tensor:
    """`rows + second(gelu(first(norm(rows))))`."""
    if not written_out(rows):
        return rows + second(F.gelu(first(norm(rows))))
    weights = (norm.weight, norm.bias, first.weight, first.bias, second.weight, second.bias)
    return _Mlp.apply(rows.contiguous(), norm.eps, *weights)


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` by oneDNN where that pays: it reorders the weight first."""
    if rows.dtype == torch.float32 and rows.shape[0] >= 1024 and _HAS_ONEDNN:
        return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return F.linear(rows, weight, bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        ctx.has_bias = bias is not None
        return _product(rows, weight, bias)

    @staticmethod
    @custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        to_rows = _product(gradient, weight.t()) if ctx.needs_input_grad[0] else None
        return to_rows, gradient.t() @ rows, gradient.sum(0) if ctx.has_bias else None


class _Mlp(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx: Any, rows: Tensor, eps: float, *weights: Tensor) -> Tensor:
        gain, offset, w1, b1, w2, b2 = weights
        result = torch.empty_like(rows)
        for part in _parts(rows, w1):
            normed = F.layer_norm(rows[part], rows.shape[1:], gain, offset, eps)
            hidden = _product(normed, w1, b1)
            torch.add(rows[part], _product(torch.ops.aten.gelu_(hidden), w2, b2), out=result[part])
        ctx.save_for_backward(rows, *weights)
        ctx.eps = eps
        return result

    @staticmethod
    @custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, *weights = ctx.saved_tensors
        gradient = gradient.contiguous()
        gain, offset, w1, b1, w2, _ = weights
        to_rows = torch.empty_like(rows)
        to_weights = [torch.zeros_like(weight) for weight in weights]
        to_gain, to_offset, to_w1, to_b1, to_w2, to_b2 = to_weights
        for part in _parts(rows, w1):
            x, above = rows[part], gradient[part]
            normed, mean, scale = torch.native_layer_norm(x, x.shape[1:], gain, offset, ctx.eps)
            hidden = _product(normed, w1, b1)
            to_w2.addmm_(above.t(), F.gelu(hidden))
            to_b2 += above.sum(0)
            to_hidden = torch.ops.aten.gelu_backward(_product(above, w2.t()), hidden)
            to_w1.addmm_(to_hidden.t(), normed)
            to_b1 += to_hidden.sum(0)
            to_x, part_gain, part_offset = torch.ops.aten.native_layer_norm_backward(
                _product(to_hidden, w1.t()), x, x.shape[1:], mean, scale, gain, offset, [True, True, True]
            )
            torch.add(above, to_x, out=to_rows[part])
            to_gain += part_gain
            to_offset += part_offset
        return to_rows, None, *to_weights


def _parts(rows: Tensor, widest: Tensor) -> list[slice]:
    """Rows that are taken together."""
    count = max(1024, HIDDEN_IN_CACHE * torch.get_num_threads() // widest.shape[0])
    return [slice(first, first + count) for first in range(0, rows.shape[0], count)]
