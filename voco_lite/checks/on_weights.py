"""Exercises of the notebook official_weights: patch merging, and input channels that a file does not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from voco_lite.checks.grading import Exercise, Mistake, check

_BITS = (0, 1)
Corners = Sequence[tuple[int, int, int]]
_CURRENT: Corners = [(i, j, k) for i in _BITS for j in _BITS for k in _BITS]
_REVERSED: Corners = [(i, j, k) for k in _BITS for j in _BITS for i in _BITS]
_LEGACY: Corners = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1)]


def merged_corners(answer: Any) -> None:
    """1: the eight neighbours of 2 x 2 x 2 voxels, one after the other along the channels."""

    def joined(corners: Corners, axis: int = -1) -> Any:
        return lambda x: torch.cat([x[:, i::2, j::2, k::2] for i, j, k in corners], axis)

    exercise = Exercise(
        name="1 Join the corners",
        right=joined(_CURRENT),
        cases=lambda: [(torch.arange(2 * 4 * 2 * 2 * 3.0).reshape(2, 4, 2, 2, 3),)],
        mistakes=(
            Mistake("all eight are there, but i runs fastest. The last index, k, runs fastest.", joined(_REVERSED)),
            Mistake("that is the order of MONAI before 1.5: two corners twice, two never.", joined(_LEGACY)),
            Mistake("join along the channels, the last axis: dim=-1.", joined(_CURRENT, 0)),
            Mistake("join along the channels, the last axis: dim=-1, not a spatial one.", joined(_CURRENT, 1)),
            Mistake("these are only four corners: k takes both values, too.", joined(_CURRENT[::2])),
        ),
        well_done="eight voxels become one of eight times the channels; no number is lost.",
    )
    check(exercise, answer)


def inflated_channels(answer: Any) -> None:
    """2: a convolution of one input channel for n channels."""

    def right(weight: Tensor, n: int) -> Tensor:
        return weight.repeat(1, n, 1, 1, 1) / n

    def cases() -> list[tuple[Any, ...]]:
        make = torch.Generator().manual_seed(3)
        return [(torch.randn(4, 1, 2, 2, 2, generator=make), n) for n in (1, 2, 3)]

    exercise = Exercise(
        name="2 More input channels",
        right=right,
        cases=cases,
        mistakes=(
            Mistake("n equal channels now answer n times as loud. Divide by n.", lambda w, n: w.repeat(1, n, 1, 1, 1)),
            Mistake(
                "dividing by the root of n keeps the variance of independent channels. Here equal channels shall give "
                "the old answer: divide by n.",
                lambda w, n: w.repeat(1, n, 1, 1, 1) / n**0.5,
            ),
            Mistake(
                "these are more output channels. Axis 1 holds the input channels.",
                lambda w, n: w.repeat(n, 1, 1, 1, 1) / n,
            ),
            Mistake(
                "only the first channel is seen. Repeat the weights for all of them.",
                lambda w, n: torch.cat([w, torch.zeros_like(w).repeat(1, n - 1, 1, 1, 1)], 1),
            ),
        ),
        well_done="where all channels show the same image, the new layer answers as the old one did.",
    )
    check(exercise, answer)
