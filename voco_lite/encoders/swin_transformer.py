"""The Swin transformer of SwinUNETR-v2, with MONAI's module names and numbers, and voxels kept as rows of a table.

Architecture: Liu et al., Swin Transformer (ICCV 2021); He et al., SwinUNETR-V2 (MICCAI 2023); MONAI
`monai/networks/nets/swin_unetr.py`. State dicts load both ways. Between two blocks the rows are reordered once:
cyclic shift, window partition, and the reverse of both, are one gather.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from voco_lite.config import Size
from voco_lite.encoders.attention import window_attention
from voco_lite.encoders.residual import ResidualBlock
from voco_lite.encoders.rows import linear, mlp
from voco_lite.encoders.windows import Move, relative_position_index, stage_moves, window_plan

Merging = Literal["current", "legacy"]
WINDOW: Size = (7, 7, 7)
HEADS = (3, 6, 12, 24)
# The official runs (MONAI 1.3) joined the corners (000), (100), (010), (001), (101), (010), (001), (111): two twice,
# two never. These are their places in today's order.
_LEGACY_CORNERS = (0, 1, 2, 3, 5, 2, 3, 7)


class Reorder(torch.autograd.Function):
    """Rows in another order; the gradient goes back by the inverse order instead of a scatter."""

    @staticmethod
    def forward(
        ctx: Any, rows: Float[Tensor, "rows channels"], source: Int[Tensor, " rows"], target: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows channels"]:
        ctx.save_for_backward(target)
        return rows.index_select(0, source)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "rows channels"]) -> tuple[Tensor, None, None]:
        (target,) = ctx.saved_tensors
        return gradient.index_select(0, target), None, None


def _moved(rows: Float[Tensor, "rows channels"], move: Move) -> Float[Tensor, "rows channels"]:
    return Reorder.apply(rows, move.source, move.target)


class WindowAttention(nn.Module):
    """Parameters of the attention of one block."""

    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        offsets = (2 * WINDOW[0] - 1) * (2 * WINDOW[1] - 1) * (2 * WINDOW[2] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.empty(offsets, heads))
        # Never read here: kept so that state dicts can be exchanged.
        index = relative_position_index(WINDOW)
        self.register_buffer("relative_position_index", index.to(self.relative_position_bias_table.device, copy=True))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)


class Mlp(nn.Module):
    """Parameters of two linear layers with a GELU between them."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)


class SwinBlock(nn.Module):
    """Attention in (shifted) windows, then an MLP, each behind a LayerNorm and beside a residual path."""

    def __init__(self, channels: int, heads: int, shifted: bool) -> None:
        super().__init__()
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, 4 * channels)

    def forward(self, rows: Float[Tensor, "rows channels"], grid: Size) -> Float[Tensor, "rows channels"]:
        """Rows in this block's window order."""
        attn = self.attn
        plan = window_plan(grid, WINDOW, self.shifted, rows.device)
        qkv = linear(self.norm1(rows), attn.qkv.weight, attn.qkv.bias)
        mixed = window_attention(qkv, attn.relative_position_bias_table, attn.qkv.bias, plan)
        rows = rows + linear(mixed, attn.proj.weight, attn.proj.bias)
        return mlp(rows, self.norm2, self.mlp.linear1, self.mlp.linear2)


class PatchMerging(nn.Module):
    """Eight neighbours become one voxel of twice the channels.

    Attributes:
        merging: "current" (MONAI >= 1.5) or "legacy" (MONAI 1.3, which the released weights were trained with).
    """

    def __init__(self, channels: int, merging: Merging) -> None:
        super().__init__()
        self.merging = merging
        self.reduction = nn.Linear(8 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(8 * channels)

    def forward(self, corners: Float[Tensor, "coarse 8 channels"]) -> Float[Tensor, "coarse twice_channels"]:
        """Corners in today's order (`stage_moves`)."""
        if self.merging == "legacy":
            # An index tensor would be copied to the device in every step, and the host would wait for it.
            corners = torch.stack([corners[:, place] for place in _LEGACY_CORNERS], dim=1)
        return linear(self.norm(corners.flatten(1)), self.reduction.weight)


class Stage(nn.Module):
    """Blocks on one grid, then patch merging."""

    def __init__(self, channels: int, heads: int, merging: Merging) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(SwinBlock(channels, heads, shifted) for shifted in (False, True))
        self.downsample = PatchMerging(channels, merging)

    def forward(self, volume: Float[Tensor, "crops channels x y z"]) -> Float[Tensor, "crops twice_channels x2 y2 z2"]:
        crops, _, x, y, z = volume.shape
        grid = (x, y, z)
        rows = volume.permute(0, 2, 3, 4, 1).flatten(0, 3)
        *moves, merge = stage_moves(grid, WINDOW, crops, volume.device)
        for move, block in zip(moves, self.blocks, strict=True):
            rows = block(_moved(rows, move), grid)
        rows = _moved(rows, merge)
        merged = self.downsample(rows.unflatten(0, (-1, 8)))
        return merged.view(crops, x // 2, y // 2, z // 2, -1).permute(0, 4, 1, 2, 3)


class PatchEmbed(nn.Module):
    """A linear map of every block of 2x2x2 voxels."""

    def __init__(self, channels: int, feature_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(channels, feature_size, kernel_size=2, stride=2)

    def forward(self, volume: Float[Tensor, "crops channels x y z"]) -> Float[Tensor, "crops features x2 y2 z2"]:
        return self.proj(volume)


class SwinTransformer(nn.Module):
    """Patch embedding and four stages, each behind a residual conv block ("v2").

    Args:
        channels: Input channels.
        feature_size: Channels after the patch embedding; twice as many after each stage.
        merging: Order of the patch merging.
    """

    def __init__(self, channels: int, feature_size: int, merging: Merging) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(channels, feature_size)
        for index, heads in enumerate(HEADS):
            width = feature_size * 2**index
            setattr(self, f"layers{index + 1}", nn.ModuleList([Stage(width, heads, merging)]))
            setattr(self, f"layers{index + 1}c", nn.ModuleList([ResidualBlock(width, width)]))

    def stages(self) -> list[Stage]:
        """The four stages, fine to coarse."""
        return [getattr(self, f"layers{index + 1}")[0] for index in range(len(HEADS))]

    def forward(
        self, volume: Float[Tensor, "crops channels x y z"], recompute: bool = False
    ) -> list[Float[Tensor, "crops features x y z"]]:
        """Five maps of strides 2, 4, 8, 16, 32, normalised over their channels; channels last in memory."""
        hidden = self.patch_embed(volume.contiguous(memory_format=torch.channels_last_3d))
        maps = [_normalised(hidden)]
        for index, stage in enumerate(self.stages()):
            hidden = apply(getattr(self, f"layers{index + 1}c")[0], hidden, recompute)
            hidden = apply(stage, hidden, recompute)
            maps.append(_normalised(hidden))
        return maps


def apply(module: nn.Module, volume: Tensor, recompute: bool) -> Tensor:
    """`module(volume)`; with `recompute`, what it computes on the way is not kept for the backward pass."""
    if not recompute:
        return module(volume)
    result: Tensor = checkpoint(module, volume, use_reentrant=False, preserve_rng_state=False)
    return result


def _normalised(volume: Float[Tensor, "crops channels x y z"]) -> Float[Tensor, "crops channels x y z"]:
    """LayerNorm over the channels, without parameters."""
    last = volume.permute(0, 2, 3, 4, 1)
    return F.layer_norm(last, last.shape[-1:]).permute(0, 4, 1, 2, 3)
