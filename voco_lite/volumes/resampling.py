"""Values of one grid on another: linear for floating types, the nearest voxel for whole numbers and booleans."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

_SLAB = 2**22  # voxels that are sampled at once
_EDGE = 0.5 + 1e-6  # a voxel reaches this far from its centre
_STRAIGHT = 1e-3  # largest drift in voxels, over the whole grid, of axes that count as parallel


def resample(
    values: Shaped[Tensor, "*channel x y z"], to_voxel: Float[Tensor, "4 4"], shape: tuple[int, int, int]
) -> Shaped[Tensor, "*channel X Y Z"]:
    """Values at the voxel centres of another grid; 0 more than half a voxel outside.

    Args:
        values: On the grid that is sampled.
        to_voxel: Voxel index of the other grid to voxel index of this one.
        shape: Of the other grid.
    """
    flat, matrix = values.reshape(-1, *values.shape[-3:]), to_voxel[:3, :3]
    axes = matrix.abs().argmax(dim=0).tolist()  # the axis of this grid that each axis of the other one runs along
    straight = torch.zeros_like(matrix)
    straight[axes, range(3)] = matrix[axes, range(3)]
    drift = ((matrix - straight).abs() @ torch.tensor(shape, dtype=matrix.dtype)).max()
    if sorted(axes) == [0, 1, 2] and float(drift) < _STRAIGHT:
        result = _along_axes(flat, axes, straight.sum(0), to_voxel[:3, 3][axes], shape)
    else:
        result = _anywhere(flat, to_voxel, shape)
    return result.reshape(*values.shape[:-3], *shape)


def _along_axes(
    values: Shaped[Tensor, "n x y z"],
    axes: list[int],
    steps: Float[Tensor, "3"],
    first: Float[Tensor, "3"],
    shape: tuple[int, int, int],
) -> Shaped[Tensor, "n X Y Z"]:
    """Grids with parallel axes: one axis after the other."""
    result = values.permute(0, *(axis + 1 for axis in axes))
    for axis, (step, start, n) in enumerate(zip(steps, first, shape, strict=True), start=1):
        places = start + step * torch.arange(n, dtype=torch.float64)
        result = _along_axis(result, axis, places)
    return result.contiguous()


def _along_axis(values: Shaped[Tensor, "n x y z"], axis: int, places: Float[Tensor, " m"]) -> Shaped[Tensor, "n ..."]:
    last = values.shape[axis] - 1
    if values.is_floating_point():
        low = places.floor().clamp(0, max(last - 1, 0)).long()
        high = (low + 1).clamp(max=last)
        width = [-1 if a == axis else 1 for a in range(4)]
        share = (places - low).clamp(0, 1).to(values.device, values.dtype).reshape(width)
        found = torch.lerp(_taken(values, axis, low), _taken(values, axis, high), share)
    else:
        found = _taken(values, axis, places.round().clamp(0, last).long())
    outside = torch.nonzero((places < -_EDGE) | (places > last + _EDGE)).flatten()
    return found.index_fill(axis, outside.to(values.device), 0)


def _taken(values: Tensor, axis: int, index: Tensor) -> Tensor:
    return values.index_select(axis, index.to(values.device))


def _anywhere(
    values: Shaped[Tensor, "n x y z"], to_voxel: Float[Tensor, "4 4"], shape: tuple[int, int, int]
) -> Shaped[Tensor, "n X Y Z"]:
    """Grids that are turned or sheared against each other: slab after slab."""
    result = values.new_zeros(len(values), *shape)
    step = max(1, _SLAB // (shape[1] * shape[2]))
    axes = [torch.arange(n, dtype=torch.float64) for n in shape]
    for first in range(0, shape[0], step):
        slab = torch.meshgrid(axes[0][first : first + step], axes[1], axes[2], indexing="ij")
        points = torch.stack(slab, dim=-1) @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        result[:, first : first + step] = _at(values, points.to(values.device))
    return result


def _at(values: Shaped[Tensor, "n x y z"], points: Float[Tensor, "i j k 3"]) -> Shaped[Tensor, "n i j k"]:
    last = torch.tensor(values.shape[1:], dtype=points.dtype, device=points.device) - 1
    inside = ((points > -_EDGE) & (points < last + _EDGE)).all(-1)
    if values.is_floating_point():
        grid = (2 * points / last.clamp(min=1) - 1).flip(-1).float()[None]
        found = F.grid_sample(values[None].float(), grid, mode="bilinear", padding_mode="border", align_corners=True)[0]
    else:
        x, y, z = points.round().clamp(torch.zeros_like(last), last).long().unbind(-1)
        found = values[:, x, y, z]
    return torch.where(inside, found.to(values.dtype), torch.zeros((), dtype=values.dtype, device=values.device))
