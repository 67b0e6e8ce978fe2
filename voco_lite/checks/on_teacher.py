"""Exercises of notebook 04: the exponential moving average and the stop-gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from voco_lite.checks.grading import Exercise, Mistake, check


def ema(answer: Any) -> None:
    """4.1: the teacher's next weights."""

    def cases() -> list[tuple[Any, ...]]:
        teacher, student = torch.tensor([0.0, 2.0, -1.0]), torch.tensor([1.0, 3.0, 5.0], requires_grad=True)
        return [(teacher, student, 0.9), (teacher + 1, student, 0.75)]

    def carries_gradient(result: Any, teacher: Tensor, student: Tensor, momentum: float) -> str | None:
        right = isinstance(result, Tensor) and torch.allclose(
            result.detach(), momentum * teacher + (1 - momentum) * student.detach()
        )
        if right and result.requires_grad:
            return "the values are right, but they carry a gradient to the student. Use `student.detach()`."
        return None

    exercise = Exercise(
        name="4.1 Moving average",
        right=lambda teacher, student, momentum: momentum * teacher + (1 - momentum) * student.detach(),
        cases=cases,
        mistakes=(
            Mistake(
                "teacher and student are swapped: momentum is the share of the teacher that stays.",
                lambda teacher, student, momentum: (1 - momentum) * teacher + momentum * student,
            ),
            Mistake("this copies the student. Keep `momentum` of the old teacher.", lambda t, s, m: s),
            Mistake("the teacher never moves. Add (1 - momentum) of the student.", lambda t, s, m: t),
            Mistake("this is the plain mean. Weight with the momentum.", lambda t, s, m: (t + s) / 2),
            Mistake("the two weights must sum to 1: (1 - momentum) for the student.", lambda t, s, m: m * t + s),
            Mistake("the two weights must sum to 1: momentum for the teacher.", lambda t, s, m: t + (1 - m) * s),
        ),
        well_done="with momentum 0.9 the teacher keeps nine tenths of itself at every step.",
        inspect=carries_gradient,
    )
    check(exercise, answer)


def half_life(answer: Any) -> None:
    """4.2: updates until half of the old teacher is gone."""
    exercise = Exercise(
        name="4.2 Half-life",
        right=lambda momentum: math.log(0.5) / math.log(momentum),
        cases=lambda: [(0.9,), (0.99,), (0.5,)],
        mistakes=(
            Mistake(
                "1 / (1 - momentum) is the time until 37 % are left (1/e). We ask for 50 %.", lambda m: 1 / (1 - m)
            ),
            Mistake("the fraction is upside down: log(0.5) / log(momentum).", lambda m: math.log(m) / math.log(0.5)),
            Mistake(
                "0.5 / (1 - momentum) would hold if every update took the same amount. It takes the same share.",
                lambda m: 0.5 / (1 - m),
            ),
            Mistake("the number of updates is positive: check the sign.", lambda m: -math.log(0.5) / math.log(m)),
            Mistake(
                "that is a good approximation for momentum near 1. Solve momentum**n = 0.5 exactly.",
                lambda m: math.log(2) / (1 - m),
            ),
        ),
        well_done="6.6 updates for 0.9, and 69 for 0.99.",
        tolerance=1e-3,
    )
    check(exercise, answer)


def stop_gradient(answer: Any) -> None:
    """4.3: student crops predict positions among teacher bases, gradient to the student only."""

    def cases() -> list[tuple[Any, ...]]:
        make = torch.Generator().manual_seed(4)
        crops, bases = torch.randn(3, 6, generator=make), torch.randn(4, 6, generator=make)
        return [(crops.requires_grad_(), bases.requires_grad_())]

    def right(crops: Tensor, bases: Tensor) -> Tensor:
        return (F.normalize(crops, dim=-1) @ F.normalize(bases.detach(), dim=-1).mT).relu()

    def gradients(result: Any, crops: Tensor, bases: Tensor) -> str | None:
        if not (isinstance(result, Tensor) and result.shape == (len(crops), len(bases))):
            return None
        if not torch.allclose(result.detach(), right(crops, bases).detach(), atol=1e-5):
            return None
        if not result.requires_grad:
            return "no gradient is left at all: nobody would learn. Detach the teacher's bases only."
        to_student, to_teacher = torch.autograd.grad(result.sum(), (crops, bases), allow_unused=True)
        if to_student is None:
            return "you detached the student: the gradient flows into the teacher only. It is the other way round."
        if to_teacher is not None:
            return "the gradient flows through the teacher as well. Use `bases.detach()`."
        return None

    exercise = Exercise(
        name="4.3 Stop the gradient",
        right=right,
        cases=cases,
        mistakes=(
            Mistake(
                "the stop is fine; relu is missing.",
                lambda crops, bases: F.normalize(crops, dim=-1) @ F.normalize(bases, dim=-1).mT,
            ),
            Mistake("these are dot products; normalise first (exercise 3.1).", lambda c, b: (c @ b.mT).relu()),
            Mistake("rows and columns are swapped: one row per random crop.", lambda c, b: right(c, b).mT),
        ),
        well_done="the student moves towards the teacher's answer, never the other way round.",
        inspect=gradients,
    )
    check(exercise, answer)
