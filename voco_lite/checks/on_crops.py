"""Exercises of notebook 02: the grid of base crops and the position labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from voco_lite.checks.grading import Exercise, Mistake, check, check_value
from voco_lite.crops import CropGrid
from voco_lite.crops import grid_starts as _grid_starts
from voco_lite.crops import position_labels as _position_labels


def grid_starts(answer: Any) -> None:
    """2.1: first voxel of every base crop, z fastest."""

    def z_slowest(grid: CropGrid) -> Tensor:
        nx, ny, nz = grid.cells
        order = [(i, j, k) for k in range(nz) for j in range(ny) for i in range(nx)]
        return torch.tensor(order) * torch.tensor(grid.crop_size)

    exercise = Exercise(
        name="2.1 Where do the base crops start?",
        right=_grid_starts,
        cases=lambda: [(CropGrid((3, 2, 2), (8, 4, 5)),), (CropGrid((3, 3, 1), (16, 16, 16)),)],
        mistakes=(
            Mistake(
                "all boxes are there, in another order. x is the outer loop and z the inner one: base crop "
                "i * ny * nz + j * nz + k is cell (i, j, k).",
                z_slowest,
            ),
            Mistake(
                "these are cells. A start is in voxels: multiply by the crop size.",
                lambda grid: _grid_starts(grid) // torch.tensor(grid.crop_size),
            ),
            Mistake(
                "these are the middles of the boxes. We need their first voxels.",
                lambda grid: _grid_starts(grid) + torch.tensor(grid.crop_size) // 2,
            ),
            Mistake(
                "these are the ends of the boxes. We need their first voxels.",
                lambda grid: _grid_starts(grid) + torch.tensor(grid.crop_size),
            ),
            Mistake(
                "the answer lies on its side: one row per base crop, shape (bases, 3).",
                lambda grid: _grid_starts(grid).T,
            ),
        ),
        well_done="x outside, z inside: the index of a base crop says where it lies.",
    )
    check(exercise, answer)


def _sides(starts: Tensor, grid: CropGrid, clamp: bool = True) -> Tensor:
    """Overlap along each axis, in voxels: (crops, bases, 3)."""
    overlap = torch.tensor(grid.crop_size) - (starts[:, None] - _grid_starts(grid)[None]).abs()
    return (overlap.clamp(min=0) if clamp else overlap).double()


def position_labels(answer: Any) -> None:
    """2.2: share of each random crop in each base crop."""

    def cases() -> list[tuple[Any, ...]]:
        return [
            (torch.tensor([[0, 0, 0], [3, 9, 0], [8, 8, 0], [15, 1, 0]]), CropGrid((3, 3, 1), (8, 8, 8))),
            (torch.tensor([[1, 2, 3], [4, 0, 2], [0, 3, 0]]), CropGrid((2, 2, 2), (4, 6, 5))),
        ]

    def volume(grid: CropGrid) -> Tensor:
        return torch.tensor(grid.crop_size).prod()

    def z_slowest(starts: Tensor, grid: CropGrid) -> Tensor:
        labels = _position_labels(starts, grid).reshape(-1, *grid.cells)
        return labels.permute(0, 3, 2, 1).reshape(len(starts), -1)

    exercise = Exercise(
        name="2.2 Position labels",
        right=_position_labels,
        cases=cases,
        mistakes=(
            Mistake(
                "these are overlaps in voxels. Divide by the volume of the random crop, so that a row sums to 1.",
                lambda starts, grid: _sides(starts, grid).prod(-1),
            ),
            Mistake(
                "boxes that do not touch get a label too: two negative sides multiply to something positive. "
                "Clamp each side at 0 before the product.",
                lambda starts, grid: _sides(starts, grid, clamp=False).prod(-1) / volume(grid),
            ),
            Mistake(
                "two negative sides multiply to something positive, so clamping the product comes too late. "
                "Clamp each side at 0 before the product.",
                lambda starts, grid: (_sides(starts, grid, clamp=False).prod(-1) / volume(grid)).clamp(min=0),
            ),
            Mistake(
                "you averaged the three sides. A volume is their product.",
                lambda starts, grid: (_sides(starts, grid) / torch.tensor(grid.crop_size)).mean(-1),
            ),
            Mistake(
                "the values are right, their order is not: base crops count with z fastest, as in `vl.grid_starts`.",
                z_slowest,
            ),
            Mistake(
                "you gave each crop to one cell. The label is soft: the share in every cell that it touches.",
                lambda starts, grid: torch.eye(_position_labels(starts, grid).shape[1])[
                    _position_labels(starts, grid).argmax(-1)
                ],
            ),
            Mistake(
                "a softmax leaves no zeros and blurs the shares. Divide by the crop's volume instead.",
                lambda starts, grid: _sides(starts, grid).prod(-1).softmax(-1),
            ),
            Mistake(
                "rows and columns are swapped: one row per random crop, one column per base crop.",
                lambda starts, grid: _position_labels(starts, grid).T,
            ),
        ),
        well_done="overlap by volume, divided by the random crop's volume. Every row sums to 1.",
    )
    check(exercise, answer)


def four_quarters(answer: Any, grid: CropGrid) -> None:
    """2.3: a start (x, y, z) that overlaps four base crops equally; ``grid`` is one cell deep."""

    def hint(start: Any) -> str | None:
        start = torch.as_tensor(start)
        if start.shape != (3,):
            return f"give one start (x, y, z): three numbers, got shape {tuple(start.shape)}."
        last = torch.tensor(grid.cells) * torch.tensor(grid.crop_size) - torch.tensor(grid.crop_size)
        if bool((start < 0).any()) or bool((start > last).any()):
            return f"this crop leaves the grid. A start lies between 0 and {tuple(last.tolist())}."
        label = _position_labels(start[None], grid)[0]
        touched = label[label > 0]
        shares = ", ".join(f"{float(share):.2f}" for share in touched)
        if len(touched) == 1:
            return "this crop is a base crop: its label is one 1. Move it by half a crop along x and along y."
        if len(touched) == 2:
            return f"only two cells are touched ({shares}). Move the crop along the other axis as well."
        if not torch.allclose(touched, torch.full_like(touched, 0.25)):
            return f"four cells are touched, but not equally ({shares}). Half a crop size along x and y is the place."
        return None

    name, well_done = "2.3 Four quarters", "the corner where four cells meet is the middle of the crop."
    check_value(name, answer, hint, well_done)
