"""Exercises of notebooks 00 and 01: arrays, windows, millimetres."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from voco_lite.checks.grading import Exercise, Mistake, check


def megabytes(answer: Any) -> None:
    """0.1: size of a float32 volume in megabytes."""
    exercise = Exercise(
        name="0.1 Megabytes of a volume",
        right=lambda shape: math.prod(shape) * 4 / 1e6,
        cases=lambda: [((1, 96, 96, 96),), ((1, 512, 512, 300),), ((2, 10, 20, 30),)],
        mistakes=(
            Mistake("these are bytes. A megabyte is 1,000,000 of them.", lambda shape: math.prod(shape) * 4),
            Mistake("you counted voxels. A float32 voxel takes 4 bytes.", lambda shape: math.prod(shape) / 1e6),
            Mistake("float32 takes 4 bytes a voxel; 8 would be float64.", lambda shape: math.prod(shape) * 8 / 1e6),
            Mistake("these are bits. A byte has 8 of them.", lambda shape: math.prod(shape) * 32 / 1e6),
            Mistake("multiply the sizes of the axes; you added them.", lambda shape: sum(shape) * 4 / 1e6),
            Mistake(
                "these are mebibytes (2**20 bytes). Divide by 1e6 for megabytes.",
                lambda shape: math.prod(shape) * 4 / 2**20,
            ),
        ),
        well_done="a 96³ volume takes 3.5 MB; a full CT of 512 x 512 x 300 voxels takes 315 MB.",
    )
    check(exercise, answer)


def value_at(answer: Any) -> None:
    """0.2: one voxel of a (channel, x, y, z) tensor."""

    def cases() -> list[tuple[Any, ...]]:
        volume = torch.arange(3 * 3 * 3, dtype=torch.float32).reshape(1, 3, 3, 3)
        return [(volume, 0, 1, 2), (volume, 2, 0, 1), (volume + 7, 1, 1, 0)]

    exercise = Exercise(
        name="0.2 One voxel",
        right=lambda volume, x, y, z: volume[0, x, y, z],
        cases=cases,
        mistakes=(
            Mistake(
                "the axes are turned round. Here x comes first: (channel, x, y, z). Many other libraries count (z, y, x).",
                lambda volume, x, y, z: volume[0, z, y, x],
            ),
            Mistake(
                "x and y are swapped. The order is (channel, x, y, z).", lambda volume, x, y, z: volume[0, y, x, z]
            ),
            Mistake(
                "this counts from 1. Python counts from 0.", lambda volume, x, y, z: volume[0, x - 1, y - 1, z - 1]
            ),
        ),
        well_done="channel first, then x, y, z. The whole package keeps this order.",
    )
    check(exercise, answer)


def window(answer: Any) -> None:
    """1.1: HU to [0, 1]."""

    def cases() -> list[tuple[Any, ...]]:
        hu = torch.tensor([-1000.0, -175.0, -20.0, 40.0, 250.0, 900.0])
        return [(hu, -175.0, 250.0), (hu, -1000.0, 500.0)]

    exercise = Exercise(
        name="1.1 Window",
        right=lambda hu, low, high: ((hu - low) / (high - low)).clamp(0, 1),
        cases=cases,
        mistakes=(
            Mistake(
                "the scale is right, but bone goes above 1 and air below 0. Clip to [0, 1].",
                lambda hu, low, high: (hu - low) / (high - low),
            ),
            Mistake(
                "you clipped, but did not scale: the values are still in HU.", lambda hu, low, high: hu.clamp(low, high)
            ),
            Mistake(
                "divide by the width of the window, `high - low`, not by `high`.",
                lambda hu, low, high: ((hu - low) / high).clamp(0, 1),
            ),
            Mistake("subtract `low` before you divide.", lambda hu, low, high: (hu / (high - low)).clamp(0, 1)),
            Mistake(
                "you scaled by the smallest and largest HU of this scan. Then the same tissue is grey in one scan and "
                "black in the next. Use `low` and `high`.",
                lambda hu, low, high: (hu - hu.min()) / (hu.max() - hu.min()),
            ),
            Mistake("black and white are swapped.", lambda hu, low, high: 1 - ((hu - low) / (high - low)).clamp(0, 1)),
        ),
        well_done="the same tissue gets the same grey in every scan.",
    )
    check(exercise, answer)


def position_mm(answer: Any) -> None:
    """1.2: voxel index to RAS mm."""

    def cases() -> list[tuple[Any, ...]]:
        affine = torch.tensor([[0.0, -3.0, 0, 50], [2.0, 0, 0, -80], [0, 0, 5.0, 10], [0, 0, 0, 1]]).double()
        return [(affine, torch.tensor([1.0, 2.0, 3.0]).double()), (affine, torch.tensor([10.0, 0.0, 4.0]).double())]

    def diagonal(affine: Tensor, voxel: Tensor) -> Tensor:
        return affine[:3, :3].norm(dim=0) * voxel + affine[:3, 3]

    exercise = Exercise(
        name="1.2 Where is this voxel, in mm?",
        right=lambda affine, voxel: affine[:3, :3] @ voxel + affine[:3, 3],
        cases=cases,
        mistakes=(
            Mistake(
                "the origin is missing: add the last column, `affine[:3, 3]`.",
                lambda affine, voxel: affine[:3, :3] @ voxel,
            ),
            Mistake(
                "the matrix is transposed: write `affine[:3, :3] @ voxel`, matrix first.",
                lambda affine, voxel: affine[:3, :3].T @ voxel + affine[:3, 3],
            ),
            Mistake("you used the spacing only. The axes may be turned: use the whole 3 x 3 matrix.", diagonal),
            Mistake(
                "this goes from mm to voxels; we need the other way.",
                lambda affine, voxel: torch.linalg.inv(affine[:3, :3]) @ (voxel - affine[:3, 3]),
            ),
            Mistake(
                "the result has four numbers; the last is the 1 of the homogeneous coordinate. Return the first three.",
                lambda affine, voxel: affine @ torch.cat([voxel, voxel.new_ones(1)]),
            ),
        ),
        well_done="with this, a finding in a prepared volume can be pointed at in the original scan.",
    )
    check(exercise, answer)


def new_shape(answer: Any) -> None:
    """1.3: number of voxels after resampling."""

    def sizes(shape: Any, spacing: Any, new_spacing: Any) -> list[int]:
        return [round(n * a / b) for n, a, b in zip(shape, spacing, new_spacing, strict=True)]

    exercise = Exercise(
        name="1.3 Voxels after resampling",
        right=sizes,
        cases=lambda: [
            ((120, 100, 80), (3.0, 3.0, 3.0), (1.5, 1.5, 1.5)),
            ((512, 512, 60), (0.75, 0.75, 5.0), (1.5, 1.5, 2.5)),
        ],
        mistakes=(
            Mistake(
                "the ratio is upside down: smaller voxels make more of them.",
                lambda shape, spacing, new_spacing: sizes(shape, new_spacing, spacing),
            ),
            Mistake(
                "this is the extent in mm. Divide it by the new spacing.",
                lambda shape, spacing, new_spacing: sizes(shape, spacing, (1, 1, 1)),
            ),
            Mistake(
                "you used the first axis's spacing for all three. Slices are often thicker than pixels are wide.",
                lambda shape, spacing, new_spacing: [round(n * spacing[0] / new_spacing[0]) for n in shape],
            ),
        ),
        well_done="the patient stays as large in mm; only the number of voxels changes.",
        tolerance=1e-2,
    )
    check(exercise, answer)
