"""Residual conv block of SwinUNETR, with MONAI's module names.

MONAI: `UnetResBlock` in `monai/networks/blocks/dynunet_block.py`, instance normalisation without parameters. On a CPU
normalisation, sum and activation are one step, which keeps nothing but its result: the backward pass finds the
normalised values again, since the leaky ReLU can be undone. Channels lie last in memory throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable

from voco_lite.encoders.conv import Convolution
from voco_lite.encoders.rows import linear, written_out

SLOPE, EPS = 0.01, 1e-5  # of the leaky ReLU; of the instance normalisation
VALUES_IN_CACHE = 1 << 18  # that each thread holds at once


class _Convolution(nn.Module):
    """A convolution under the name that MONAI gives it."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.conv = Convolution(inputs, outputs) if size == 3 else nn.Conv3d(inputs, outputs, size, bias=False)

    def forward(self, volume: Tensor) -> Tensor:
        if self.conv.kernel_size == (1, 1, 1) and written_out(volume):
            crops, _, x, y, z = volume.shape
            rows = linear(_rows(volume).flatten(0, 1), self.conv.weight.flatten(1))
            return rows.view(crops, x, y, z, -1).permute(0, 4, 1, 2, 3)
        return self.conv(volume)


class _Layer(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = _Convolution(inputs, outputs, 3)
        self.conv2 = _Convolution(outputs, outputs, 3)
        self.conv3 = _Convolution(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, volume: Tensor) -> Tensor:
        beside = volume if self.conv3 is None else normalise(self.conv3(volume), None, 1.0)
        hidden = normalise(self.conv1(volume), None, SLOPE)
        return normalise(self.conv2(hidden), beside, SLOPE)


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions, each instance-normalised, beside the identity or a 1x1x1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = _Layer(inputs, outputs)

    def forward(self, volume: Float[Tensor, "crops inputs x y z"]) -> Float[Tensor, "crops outputs x y z"]:
        return self.layer(volume.contiguous(memory_format=torch.channels_last_3d))


def normalise(
    volume: Float[Tensor, "crops channels x y z"], beside: Float[Tensor, "crops channels x y z"] | None, slope: float
) -> Float[Tensor, "crops channels x y z"]:
    """Leaky ReLU of the instance-normalised volume plus `beside`."""
    if written_out(volume):
        return _Normalise.apply(volume, beside, slope)
    normed = F.instance_norm(volume, eps=EPS)
    return F.leaky_relu(normed if beside is None else normed + beside, slope)


class _Normalise(torch.autograd.Function):
    """Saves its result, which the next layer keeps anyway, instead of what it got."""

    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx: Any, volume: Tensor, beside: Tensor | None, slope: float) -> Tensor:
        rows = _rows(volume.contiguous(memory_format=torch.channels_last_3d))
        result = torch.empty_like(volume, memory_format=torch.channels_last_3d)
        target = _rows(result)
        mean = rows.mean(1, keepdim=True)
        square = torch.zeros_like(mean)
        for crop, part in _parts(rows):
            square[crop, 0] += (rows[crop, part] - mean[crop]).square_().sum(0)
        scale = (square / rows.shape[1] + EPS).rsqrt()
        added = None if beside is None else _rows(beside)
        for crop, part in _parts(rows):
            values = torch.sub(rows[crop, part], mean[crop], out=target[crop, part]).mul_(scale[crop])
            if added is not None:
                values.add_(added[crop, part])
            F.leaky_relu_(values, slope)
        ctx.save_for_backward(result, scale, beside)
        ctx.slope = slope
        return result

    @staticmethod
    @custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        result, scale, beside = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        rows, above = _rows(result), _rows(gradient)
        added = None if beside is None else _rows(beside)
        to_volume = torch.empty_like(gradient, memory_format=torch.channels_last_3d)
        to_beside = None if beside is None else torch.empty_like(to_volume)
        mean, product = torch.zeros_like(scale), torch.zeros_like(scale)
        for crop, part in _parts(rows):
            inner, normed = _undone(rows, added, above, crop, part, ctx.slope)
            mean[crop, 0] += inner.sum(0)
            product[crop, 0] += normed.mul_(inner).sum(0)
            if to_beside is not None:
                _rows(to_beside)[crop, part] = inner
        mean, product = mean / rows.shape[1], product / rows.shape[1]
        target = _rows(to_volume)
        for crop, part in _parts(rows):
            inner, normed = _undone(rows, added, above, crop, part, ctx.slope)
            inner = inner.sub_(mean[crop]).sub_(normed.mul_(product[crop]))
            torch.mul(inner, scale[crop], out=target[crop, part])
        return to_volume, to_beside, None


def _undone(
    rows: Tensor, added: Tensor | None, above: Tensor, crop: int, part: slice, slope: float
) -> tuple[Tensor, Tensor]:
    """Gradient before the activation, and the normalised values, of some rows."""
    values = rows[crop, part]
    inner = torch.ops.aten.leaky_relu_backward(above[crop, part], values, slope, True)
    normed = F.leaky_relu(values, 1 / slope)
    return inner, normed if added is None else normed.sub_(added[crop, part])


def _rows(volume: Float[Tensor, "crops channels x y z"]) -> Float[Tensor, "crops voxels channels"]:
    return volume.permute(0, 2, 3, 4, 1).flatten(1, 3)


def _parts(rows: Float[Tensor, "crops voxels channels"]) -> Iterator[tuple[int, slice]]:
    """A few voxels of one crop at a time, so that several passes over them stay in the cache."""
    count = max(1, VALUES_IN_CACHE * torch.get_num_threads() // rows.shape[2])
    for crop in range(rows.shape[0]):
        for first in range(0, rows.shape[1], count):
            yield crop, slice(first, first + count)
