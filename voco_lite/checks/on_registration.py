"""Exercises of the notebook on registration: the target error, and space that folds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from voco_lite.checks.grading import Exercise, Mistake, check


def target_error(answer: Any) -> None:
    """9.1: mean distance in mm between where points end and where they belong."""

    def ends(fixed: Tensor, found: Tensor, moving: Tensor, spacing: Tensor) -> Tensor:
        return (fixed + found - moving) * spacing

    def cases() -> list[tuple[Any, ...]]:
        make = torch.Generator().manual_seed(9)
        points = [10 * torch.rand(6, 3, generator=make) for _ in range(3)]
        return [(*points, torch.tensor([1.0, 2.0, 5.0])), (*points[::-1], torch.tensor([3.0, 0.5, 1.0]))]

    exercise = Exercise(
        name="9.1 Target error",
        right=lambda *given: ends(*given).norm(dim=-1).mean(),
        cases=cases,
        mistakes=(
            Mistake(
                "these are voxels, whose sides differ in length. Multiply by the spacing before you take the norm.",
                lambda p, u, q, mm: (p + u - q).norm(dim=-1).mean(),
            ),
            Mistake(
                "the field has to be added: p of the fixed scan lies at p + u in the moving one.",
                lambda p, u, q, mm: ((p - u - q) * mm).norm(dim=-1).mean(),
            ),
            Mistake(
                "without the field this is the error before registration.",
                lambda p, u, q, mm: ((p - q) * mm).norm(dim=-1).mean(),
            ),
            Mistake("these are errors by point. Take their mean.", lambda *given: ends(*given).norm(dim=-1)),
            Mistake(
                "errors to the left and to the right cancel in a mean of vectors. Take the norm first.",
                lambda *given: ends(*given).mean(0).norm(),
            ),
            Mistake(
                "this is the mean along single axes. A distance is the norm over the three.",
                lambda *given: ends(*given).abs().mean(),
            ),
        ),
        well_done="a distance in mm means the same in every scan, whatever its voxels.",
    )  # fmt: skip
    check(exercise, answer)


def folding(answer: Any) -> None:
    """9.2: share of voxels where space folds, from Jacobian determinants."""

    def cases() -> list[tuple[Any, ...]]:
        known = torch.tensor([[1.0, 0.4, -0.2], [0.0, 1.7, -3.0]])
        return [(known,), (known.flip(0) + 0.3,), (torch.ones(2, 2),)]

    exercise = Exercise(
        name="9.2 Folding",
        right=lambda determinants: (determinants <= 0).double().mean(),
        cases=cases,
        mistakes=(
            Mistake("0 counts too: there a voxel is crushed to nothing.", lambda d: (d < 0).double().mean()),
            Mistake("below 1 a voxel shrinks, which bodies do. It folds at 0 and below.", lambda d: (d < 1).double().mean()),
            Mistake("this is their number. Take the share: the mean.", lambda d: (d <= 0).sum()),
            Mistake("this is the share that does not fold.", lambda d: (d > 0).double().mean()),
            Mistake("these are the voxels that fold. Take their share: the mean.", lambda d: (d <= 0).double()),
        ),
        well_done="bodies do not fold, so that a field which does is wrong there, however alike the scans look.",
    )  # fmt: skip
    check(exercise, answer)
