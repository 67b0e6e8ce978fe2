"""Exercises of the gallery: the most similar crop, and the place that looks at no voxel."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from voco_lite.checks.grading import Exercise, Mistake, check


def best_match(answer: Any) -> None:
    """1: which of many vectors is most similar to one."""

    def right(query: Tensor, candidates: Tensor) -> Tensor:
        return (F.normalize(candidates, dim=-1) @ F.normalize(query, dim=0)).argmax()

    def cases() -> list[tuple[Any, ...]]:
        make = torch.Generator().manual_seed(5)
        query = torch.tensor([3.0, 4.0, 0.0])
        # Along the query but short, long but askew, near but askew, and its opposite.
        known = torch.tensor([[0.3, 0.41, 0.0], [30.0, 10.0, 20.0], [3.0, 3.0, 1.5], [-3.0, -4.0, 0.0]])
        return [(query, known), (torch.randn(8, generator=make), torch.randn(50, 8, generator=make))]

    exercise = Exercise(
        name="1 Find the place",
        right=right,
        cases=cases,
        mistakes=(
            Mistake(
                "long vectors win a dot product. Divide by the lengths first: the cosine.",
                lambda q, c: (c @ q).argmax(),
            ),
            Mistake(
                "that is the nearest by distance, where length counts. Use the cosine.",
                lambda q, c: (c - q).norm(dim=-1).argmin(),
            ),
            Mistake(
                "that is the least similar one. Take the largest cosine.",
                lambda q, c: (F.normalize(c, dim=-1) @ F.normalize(q, dim=0)).argmin(),
            ),
            Mistake(
                "that is the largest cosine itself. Return its number: argmax.",
                lambda q, c: (F.normalize(c, dim=-1) @ F.normalize(q, dim=0)).amax(),
            ),
        ),
        well_done="this is all that pointing across subjects does.",
    )
    check(exercise, answer)


def same_share(answer: Any) -> None:
    """2: the place at the same share of another box."""

    def right(place: Tensor, shape_a: Tensor, shape_b: Tensor) -> Tensor:
        return (place + 0.5) / shape_a * shape_b - 0.5

    def cases() -> list[tuple[Any, ...]]:
        rows = [([0, 5, 11], [12, 10, 24], [24, 30, 12]), ([23, 29, 11], [24, 30, 12], [12, 10, 24])]
        return [tuple(torch.tensor(row, dtype=torch.float64) for row in case) for case in rows]

    exercise = Exercise(
        name="2 Look at no voxel",
        right=right,
        cases=cases,
        mistakes=(
            Mistake(
                "nearly. Index 0 is the *middle* of the first voxel, half a voxel from the border: add 0.5 before, "
                "take 0.5 away after.",
                lambda p, a, b: p / a * b,
            ),
            Mistake("the half voxel is added; take it away again at the end.", lambda p, a, b: (p + 0.5) / a * b),
            Mistake("the boxes are exchanged: the share is place by shape_a.", lambda p, a, b: (p + 0.5) / b * a - 0.5),
            Mistake(
                "borders to borders, not first middles to last middles: shapes, not shapes minus 1.",
                lambda p, a, b: p / (a - 1) * (b - 1),
            ),
        ),
        well_done="bodies are alike, so that this rival is strong: beat it before you speak of anatomy.",
    )
    check(exercise, answer)
