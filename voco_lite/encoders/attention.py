"""Attention inside the windows of a plan, with a bias per pair and one virtual key for padded voxels.

Two ways to the same numbers. `fused_attention` hands each group of windows to PyTorch's
`scaled_dot_product_attention`, whose CPU form falls back to whole score matrices as soon as the bias needs a
gradient. `WrittenOut` keeps only queries, keys and values, walks over a few windows at a time so that their scores
stay in the cache, and computes the scores again on the way back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable

from voco_lite.encoders.windows import WindowPlan

SCORES_IN_CACHE = 1 << 19  # score matrix entries computed at once by each CPU thread
_LOG2_E = math.log2(math.e)


def window_attention(
    qkv: Float[Tensor, "voxels three_channels"],
    table: Float[Tensor, "offsets heads"],
    padding: Float[Tensor, " three_channels"],
    plan: WindowPlan,
    written_out: bool | None = None,
) -> Float[Tensor, "voxels channels"]:
    """Multi-head attention in the windows of `plan`.

    MONAI: `WindowAttention` and the padding, rolling and masking around it in `SwinTransformerBlock`.

    Args:
        qkv: Queries, keys, values of all crops' voxels in window order (`batch_order`), heads slower than their depth.
        table: Bias of every relative position.
        padding: Query, key and value of a padded voxel; the query is not used.
        plan: The windows of one crop.
        written_out: Which of the two ways; None: written out on a CPU, fused elsewhere.
    """
    heads = table.shape[1]
    biases = group_biases(table, plan)
    extra = padding.to(qkv.dtype).unflatten(0, (3, heads, -1))[1:]
    crops = qkv.shape[0] // plan.order.numel()
    shapes = tuple((crops * group.windows, group.voxels) for group in plan.groups)
    if qkv.device.type == "cpu" if written_out is None else written_out:
        full = torch.promote_types(qkv.dtype, torch.float32)
        inputs = (qkv.to(full), extra.to(full), shapes, *(bias.to(full) for bias in biases))
        return WrittenOut.apply(*inputs).to(qkv.dtype)
    return fused_attention(qkv, extra, shapes, biases)


def group_biases(table: Float[Tensor, "offsets heads"], plan: WindowPlan) -> list[Float[Tensor, "heads queries keys"]]:
    """Bias of every (query, key) of each group; a last key for the padded voxels where there are any.

    Padded voxels share one key, so their shares of the softmax add up to that of one key whose bias is the
    logarithm of the summed exponentials of theirs.
    """
    flat = _gathered(table, plan.pairs)
    biases = []
    for group, part in zip(plan.groups, flat.split([group.pairs.numel() for group in plan.groups], 1), strict=True):
        bias = part.unflatten(1, (group.voxels, group.voxels))
        if group.padded is not None:
            virtual = _gathered(table, group.padded.flatten()).unflatten(1, group.padded.shape)
            bias = torch.cat([bias, virtual.logsumexp(-1, keepdim=True)], -1)
        biases.append(bias)
    return biases


def _gathered(table: Float[Tensor, "offsets heads"], rows: Int[Tensor, " pairs"]) -> Float[Tensor, "heads pairs"]:
    # The gradient of `gather` is a scatter of single numbers; that of an embedding, row by row, took 30 times longer.
    return table.t().gather(1, rows.expand(table.shape[1], -1))


def fused_attention(
    qkv: Float[Tensor, "voxels three_channels"],
    extra: Float[Tensor, "two heads depth"],
    shapes: Sequence[tuple[int, int]],
    biases: Sequence[Float[Tensor, "heads queries keys"]],
) -> Float[Tensor, "voxels channels"]:
    """Each group by `scaled_dot_product_attention`."""
    _, heads, depth = extra.shape
    results = []
    for part, shape, bias in zip(qkv.split([w * n for w, n in shapes]), shapes, biases, strict=True):
        q, k, v = part.view(*shape, 3, heads, depth).permute(2, 0, 3, 1, 4)
        if bias.shape[2] > bias.shape[1]:
            virtual = extra[:, None, :, None].expand(2, shape[0], heads, 1, depth)
            k, v = torch.cat([k, virtual[0]], 2), torch.cat([v, virtual[1]], 2)
        result = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype)[None])
        results.append(result.transpose(1, 2).reshape(-1, heads * depth))
    return torch.cat(results)


class WrittenOut(torch.autograd.Function):
    """Attention of all groups, a few windows at a time; scores are not kept for the backward pass.

    Powers are those of two: `exp2` costs a quarter of `exp` on a CPU. The backward pass subtracts the logarithm of
    each query's sum, and each query's mean gradient, inside the matrix products, by one more column.
    """

    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(
        ctx: Any,
        qkv: Float[Tensor, "voxels three_channels"],
        extra: Float[Tensor, "two heads depth"],
        shapes: tuple[tuple[int, int], ...],
        *biases: Float[Tensor, "heads queries keys"],
    ) -> Float[Tensor, "voxels channels"]:
        _, heads, depth = extra.shape
        binary = [bias * _LOG2_E for bias in biases]
        result = qkv.new_empty(qkv.shape[0], heads * depth)
        sums = binary[0].new_empty(qkv.shape[0], heads)
        for rows, windows, bias, _ in _chunks(shapes, binary):
            q, k, v = _heads_first(qkv[rows], extra, windows, bias)
            scores = (q[..., :depth] @ k[..., :depth].mT).add_(bias)
            top = scores.amax(-1, keepdim=True)
            shares = scores.sub_(top).exp2_()
            total = shares.sum(-1, keepdim=True)
            mixed = (shares @ v[..., :depth]).div_(total)
            result[rows].view(windows, -1, heads, depth).copy_(mixed.transpose(1, 2))
            sums[rows].view(windows, -1, heads).copy_(total.log2_().add_(top).squeeze(-1).transpose(1, 2))
        ctx.save_for_backward(qkv, extra, result, sums, *binary)
        ctx.shapes = shapes
        return result

    @staticmethod
    @custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "voxels channels"]) -> tuple[Tensor | None, ...]:
        qkv, extra, result, sums, *binary = ctx.saved_tensors
        gradient = gradient.contiguous()
        _, heads, depth = extra.shape
        to_qkv, to_extra = torch.empty_like(qkv), torch.zeros_like(extra)
        to_biases = [torch.zeros_like(bias) for bias in binary]
        for rows, windows, bias, group in _chunks(ctx.shapes, binary):
            q, k, v = _heads_first(qkv[rows], extra, windows, bias)
            q[..., depth] = sums[rows].view(windows, -1, heads).transpose(1, 2).neg()
            above = _gradient_first(gradient[rows], result[rows], q)
            shares = (q @ k.mT).add_(bias).exp2_()
            to_v = shares.mT @ above[..., :depth]
            to_scores = (above @ v.mT).mul_(shares)
            to_biases[group].add_(to_scores[0] if windows == 1 else to_scores.sum(0))
            to_k = (to_scores.mT @ q[..., :depth]).div_(_LOG2_E)
            queries = q.shape[2]
            target = to_qkv[rows].view(windows, queries, 3, heads, depth).permute(2, 0, 3, 1, 4)
            target[0].copy_((to_scores @ k[..., :depth]).mul_(depth**-0.5))
            target[1].copy_(to_k[:, :, :queries])
            target[2].copy_(to_v[:, :, :queries])
            if k.shape[2] > queries:
                to_extra[0] += to_k[:, :, -1].sum(0)
                to_extra[1] += to_v[:, :, -1].sum(0)
        return to_qkv, to_extra, None, *to_biases


def _chunks(shapes: Sequence[tuple[int, int]], biases: Sequence[Tensor]) -> Iterator[tuple[slice, int, Tensor, int]]:
    """Rows of a few windows of one group, their number, their bias and the group's index."""
    start = 0
    for group, ((windows, voxels), bias) in enumerate(zip(shapes, biases, strict=True)):
        most = max(1, SCORES_IN_CACHE * torch.get_num_threads() // bias.numel())
        for first in range(0, windows, most):
            count = min(most, windows - first)
            begin = start + first * voxels
            yield slice(begin, begin + count * voxels), count, bias, group
        start += windows * voxels


def _heads_first(
    rows: Float[Tensor, "voxels three_channels"],
    extra: Float[Tensor, "two heads depth"],
    windows: int,
    bias: Float[Tensor, "heads queries keys"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values as (windows, heads, voxels, depth + 1), the virtual key last.

    Queries are scaled for scores in powers of two; the last column is open in the queries and 1 in keys and values.
    """
    heads, queries, keys = bias.shape
    parts = rows.view(windows, queries, 3, heads, -1).permute(2, 0, 3, 1, 4)
    depth = parts.shape[-1]
    q = bias.new_empty(windows, heads, queries, depth + 1)
    torch.mul(parts[0], depth**-0.5 * _LOG2_E, out=q[..., :depth])
    wide = bias.new_empty(2, windows, heads, keys, depth + 1)
    wide[..., :queries, :depth] = parts[1:]
    wide[..., depth] = 1
    if keys > queries:
        wide[..., queries, :depth] = extra[:, None]
    return q, wide[0], wide[1]


def _gradient_first(
    gradient: Float[Tensor, "voxels channels"], result: Float[Tensor, "voxels channels"], q: Tensor
) -> Float[Tensor, "windows heads queries depth_and_one"]:
    """Gradient of the result, and as last column the negative mean that the softmax's gradient subtracts."""
    windows, heads, queries, _ = q.shape
    above = torch.empty_like(q)
    parts = gradient.view(windows, queries, heads, -1)
    above[..., :-1] = parts.transpose(1, 2)
    above[..., -1] = (parts * result.view_as(parts)).sum(-1).neg_().transpose(1, 2)
    return above
