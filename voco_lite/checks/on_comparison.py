"""Exercises of the notebooks on fair comparison and on the published tasks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import ndarray

from voco_lite.benchmark import holm
from voco_lite.checks.grading import Exercise, Mistake, check


def paired_t(answer: Any) -> None:
    """Fair comparison 1: a mean difference in standard errors."""

    def cases() -> list[tuple[Any, ...]]:
        rng = np.random.default_rng(1)
        return [(rng.normal(mean, 0.05, n),) for n, mean in ((6, 0.05), (12, -0.05))]

    exercise = Exercise(
        name="1 The paired t",
        right=lambda d: d.mean() / (d.std(ddof=1) / len(d) ** 0.5),
        cases=cases,
        mistakes=(
            Mistake("divide by the standard deviation of the *mean*: that of the differences over the root of their number.",
                    lambda d: d.mean() / d.std(ddof=1)),
            Mistake("the standard deviation of a sample divides by n - 1, not by n: NumPy's std does so with ddof=1.",
                    lambda d: d.mean() / (d.std() / len(d) ** 0.5)),
            Mistake("divide by the standard deviation of the *mean*, and take n - 1 of a sample: NumPy's std with ddof=1.",
                    lambda d: d.mean() / d.std()),
            Mistake("this is divided by the variance. Take its root, the standard deviation.",
                    lambda d: d.mean() / (d.var(ddof=1) / len(d) ** 0.5)),
            Mistake("divide by the root of the number of subjects, not by the number.",
                    lambda d: d.mean() / (d.std(ddof=1) / len(d))),
            Mistake("the sign says which condition is ahead. Keep it.",
                    lambda d: abs(d.mean() / (d.std(ddof=1) / len(d) ** 0.5))),
        ),
        well_done="how many standard errors the mean difference lies from 0.",
    )  # fmt: skip
    check(exercise, answer)


def step_down(answer: Any) -> None:
    """Fair comparison 2: Holm's correction."""

    def cases() -> list[tuple[Any, ...]]:
        values = ([0.04, 0.001, 0.03, 0.2], [0.02, 0.011, 0.9], [0.7, 0.6])
        return [(np.array(p),) for p in values]

    def multiplied(p: ndarray) -> ndarray:
        return np.sort(p) * np.arange(len(p), 0, -1)

    def unordered(p: ndarray, corrected: ndarray) -> ndarray:
        return corrected[p.argsort().argsort()]

    exercise = Exercise(
        name="2 Holm's correction",
        right=holm,
        cases=cases,
        mistakes=(
            Mistake("this is Bonferroni's: valid, but it gives away power. The larger p-values need a smaller factor.",
                    lambda p: (p * len(p)).clip(max=1)),
            Mistake("a larger p-value must never end below a smaller one: carry the largest so far along.",
                    lambda p: unordered(p, multiplied(p).clip(max=1))),
            Mistake("a p-value is at most 1. Clip.", lambda p: unordered(p, np.maximum.accumulate(multiplied(p)))),
            Mistake("these are in the order of the sorted p-values. Put them back into the order that was given.",
                    lambda p: np.maximum.accumulate(multiplied(p)).clip(max=1)),
            Mistake("the smallest p-value gets the largest factor, the number of comparisons.",
                    lambda p: unordered(p, np.maximum.accumulate(np.sort(p) * np.arange(1, len(p) + 1)).clip(max=1))),
        ),
        well_done="in a family of comparisons, the risk of even one false winner stays at 5 %.",
    )  # fmt: skip
    check(exercise, answer)


def steps_of_a_schedule(answer: Any) -> None:
    """The published tasks 1: optimizer steps of so many epochs."""
    exercise = Exercise(
        name="1 Steps of a schedule",
        right=lambda cases, batch, epochs: math.ceil(cases / batch) * epochs,
        cases=lambda: [(24, 1, 1000), (25, 4, 10), (7, 2, 3)],
        mistakes=(
            Mistake("the last batch of an epoch may be smaller, and is a step too: round up.",
                    lambda cases, batch, epochs: cases // batch * epochs),
            Mistake("steps come in whole numbers, epoch by epoch: round up before you multiply.",
                    lambda cases, batch, epochs: cases / batch * epochs),
            Mistake("every epoch ends with its own smaller batch: round up before you multiply.",
                    lambda cases, batch, epochs: math.ceil(cases * epochs / batch)),
            Mistake("these are scans looked at. Divide by the batch size.", lambda cases, batch, epochs: cases * epochs),
        ),
        well_done="epochs hide how long a training is; steps and batch size say it.",
    )  # fmt: skip
    check(exercise, answer)


def share_gained(answer: Any) -> None:
    """The published tasks 2: a gain as a share of what was missing."""
    exercise = Exercise(
        name="2 Share of the error",
        right=lambda before, after: (after - before) / (100 - before),
        cases=lambda: [(82.79, 86.64), (95.0, 96.0), (np.float64(50.0), np.float64(40.0))],
        mistakes=(
            Mistake("this is the gain in points. Divide it by what was missing to 100 before.",
                    lambda before, after: after - before),
            Mistake("divide by what was missing, 100 minus the old score, not by the old score.",
                    lambda before, after: (after - before) / before),
            Mistake("divide by what was missing before, not by what still is.",
                    lambda before, after: (after - before) / (100 - after)),
            Mistake("what was missing is counted to 100: these are per cent.",
                    lambda before, after: (after - before) / (1 - before)),
        ),
        well_done="one point means more where little is missing.",
    )  # fmt: skip
    check(exercise, answer)
