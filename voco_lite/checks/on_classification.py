"""Exercises of notebook 08: what a classifier is worth."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from voco_lite.checks.grading import Exercise, Mistake, check


def always_the_most_frequent(answer: Any) -> None:
    """8.1: accuracy of the best answer that looks at nothing."""
    exercise = Exercise(
        name="8.1 The level to beat",
        right=lambda learnt, asked: (asked == learnt.mode().values).double().mean(),
        cases=lambda: [
            (torch.tensor([0, 1, 1, 2, 1]), torch.tensor([1, 0, 0, 1, 2, 0, 0, 0])),
            (torch.tensor([3, 3, 0, 0, 3]), torch.tensor([3, 3, 0, 1])),
        ],
        mistakes=(
            Mistake("which class is frequent has to be known from the training subjects, not from the test subjects.",
                    lambda learnt, asked: (asked == asked.mode().values).double().mean()),
            Mistake("count on the test subjects: how many of *them* have that class?",
                    lambda learnt, asked: (learnt == learnt.mode().values).double().mean()),
            Mistake("this is the accuracy of guessing at random. Always saying the most frequent class differs.",
                    lambda learnt, asked: 1 / len(learnt.unique())),
            Mistake("this is a count. Take the share.", lambda learnt, asked: (asked == learnt.mode().values).sum()),
        ),
        well_done="an accuracy means something only beside it.",
    )  # fmt: skip
    check(exercise, answer)


def area_under_the_curve(answer: Any) -> None:
    """8.2: AUROC as a share of pairs."""

    def pairs(scores: Tensor, positive: Tensor) -> Tensor:
        return scores[positive][:, None] - scores[~positive][None]

    exercise = Exercise(
        name="8.2 AUROC by pairs",
        right=lambda s, y: ((pairs(s, y) > 0).double() + 0.5 * (pairs(s, y) == 0).double()).mean(),
        cases=lambda: [
            (torch.tensor([0.9, 0.4, 0.4, 0.2, 0.7]), torch.tensor([True, True, False, False, False])),
            (torch.tensor([0.1, 0.6, 0.6, 0.6]), torch.tensor([True, False, True, True])),
        ],
        mistakes=(
            Mistake("pairs with equal scores count half: a constant has to come out at 0.5.",
                    lambda s, y: (pairs(s, y) > 0).double().mean()),
            Mistake("pairs with equal scores count half, not whole.", lambda s, y: (pairs(s, y) >= 0).double().mean()),
            Mistake("the other way round: the positive one has to have the higher score.",
                    lambda s, y: ((pairs(s, y) < 0).double() + 0.5 * (pairs(s, y) == 0).double()).mean()),
            Mistake("this is an accuracy at the threshold 0.5. The AUROC knows no threshold.",
                    lambda s, y: ((s > 0.5) == y).double().mean()),
        ),
        well_done="the chance that a random positive subject gets a higher score than a random negative one.",
    )  # fmt: skip
    check(exercise, answer)
