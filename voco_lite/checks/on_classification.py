"""Exercises of notebook 08: what a classifier is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from voco_lite.checks.grading import Exercise, Mistake, check


def always_the_most_frequent(answer: Any) -> None:
    """8.1: accuracy of the best answer that looks at nothing."""

    def mode(classes: ndarray) -> int:
        return int(np.bincount(classes).argmax())

    exercise = Exercise(
        name="8.1 The level to beat",
        right=lambda learnt, asked: (asked == mode(learnt)).mean(),
        # Of the last two, neither the first, the last nor the middle class is the most frequent one.
        cases=lambda: [
            (np.array([0, 1, 1, 2, 1]), np.array([1, 0, 0, 1, 2, 0, 0, 0])),
            (np.array([3, 3, 0, 0, 3]), np.array([3, 3, 0, 1])),
            (np.array([0, 2, 1, 2, 0, 2, 1]), np.array([1, 1, 1, 2, 0, 2])),
            (np.array([1, 0, 2, 0, 3, 0, 1]), np.array([3, 3, 0, 2, 1])),
        ],
        mistakes=(
            Mistake("which class is frequent has to be known from the training subjects, not from the test subjects.",
                    lambda learnt, asked: (asked == mode(asked)).mean()),
            Mistake("count on the test subjects: how many of *them* have that class?",
                    lambda learnt, asked: (learnt == mode(learnt)).mean()),
            Mistake("this is the accuracy of guessing at random. Always saying the most frequent class differs.",
                    lambda learnt, asked: 1 / len(np.unique(learnt))),
            Mistake("this is a count. Take the share.", lambda learnt, asked: (asked == mode(learnt)).sum()),
        ),
        well_done="an accuracy means something only beside it.",
    )  # fmt: skip
    check(exercise, answer)


def area_under_the_curve(answer: Any) -> None:
    """8.2: AUROC as a share of pairs."""

    def pairs(scores: ndarray, positive: ndarray) -> ndarray:
        return scores[positive][:, None] - scores[~positive][None]

    exercise = Exercise(
        name="8.2 AUROC by pairs",
        right=lambda s, y: (pairs(s, y) > 0).mean() + 0.5 * (pairs(s, y) == 0).mean(),
        cases=lambda: [
            (np.array([0.9, 0.4, 0.4, 0.2, 0.7]), np.array([True, True, False, False, False])),
            (np.array([0.1, 0.6, 0.6, 0.6]), np.array([True, False, True, True])),
        ],
        mistakes=(
            Mistake("pairs with equal scores count half: a constant has to come out at 0.5.",
                    lambda s, y: (pairs(s, y) > 0).mean()),
            Mistake("pairs with equal scores count half, not whole.", lambda s, y: (pairs(s, y) >= 0).mean()),
            Mistake("the other way round: the positive one has to have the higher score.",
                    lambda s, y: (pairs(s, y) < 0).mean() + 0.5 * (pairs(s, y) == 0).mean()),
            Mistake("this is an accuracy at the threshold 0.5. The AUROC knows no threshold.",
                    lambda s, y: ((s > 0.5) == y).mean()),
        ),
        well_done="the chance that a random positive subject gets a higher score than a random negative one.",
    )  # fmt: skip
    check(exercise, answer)
