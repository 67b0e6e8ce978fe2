"""Exercises of the notebook many_gpus: who computes what, and what is averaged."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from voco_lite.checks.grading import Exercise, Mistake, check


def averaged_gradients(answer: Any) -> None:
    """1: the gradient that every process uses for its update."""

    def cases() -> list[tuple[Any, ...]]:
        make = torch.Generator().manual_seed(6)
        return [(torch.randn(processes, 5, generator=make),) for processes in (2, 3)]

    def right(gradients: Tensor) -> Tensor:
        return gradients.mean(0, keepdim=True).expand_as(gradients)

    exercise = Exercise(
        name="1 All-reduce",
        right=right,
        cases=cases,
        mistakes=(
            Mistake(
                "this is the sum: two processes would take steps of double length. Take the mean.",
                lambda g: g.sum(0, keepdim=True).expand_as(g),
            ),
            Mistake(
                "the mean is right, but every process needs it: return one row for each, all alike.",
                lambda g: g.mean(0),
            ),
            Mistake("rows are processes: average over axis 0.", lambda g: g.mean(1, keepdim=True).expand_as(g)),
            Mistake("this is the first process's own gradient.", lambda g: g[:1].expand_as(g)),
            Mistake("nothing was exchanged: the processes would drift apart.", lambda g: g),
        ),
        well_done="all processes take the same step, so that their weights stay alike without ever being sent.",
    )
    check(exercise, answer)


def micro_batches(answer: Any) -> None:
    """2: numbers of the micro-batches of one process in one optimizer step."""

    def right(step: int, process: int, processes: int, accumulation: int) -> list[int]:
        return [(step * accumulation + i) * processes + process for i in range(accumulation)]

    exercise = Exercise(
        name="2 Who takes which micro-batch",
        right=right,
        cases=lambda: [(0, 1, 2, 1), (3, 0, 2, 2), (2, 3, 4, 3)],
        mistakes=(
            Mistake(
                "you deal each process a block in one piece. Deal like cards: every `processes`-th micro-batch.",
                lambda s, p, n, a: [(s * n + p) * a + i for i in range(a)],
            ),
            Mistake("the number of the process is missing.", lambda s, p, n, a: [(s * a + i) * n for i in range(a)]),
            Mistake(
                "earlier steps took `accumulation` micro-batches for each process, not one.",
                lambda s, p, n, a: [(s + i) * n + p for i in range(a)],
            ),
            Mistake(
                "processes count from 0: process 0 takes number 0.",
                lambda s, p, n, a: [(s * a + i) * n + p + 1 for i in range(a)],
            ),
            Mistake("steps count from 0.", lambda s, p, n, a: [((s + 1) * a + i) * n + p for i in range(a)]),
        ),
        well_done="together the processes take each micro-batch once, whatever their number.",
    )
    check(exercise, answer)
