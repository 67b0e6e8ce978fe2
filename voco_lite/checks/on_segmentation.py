"""Exercises of notebook 07: how well a prediction fits, and what one run says."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from voco_lite.checks.grading import Exercise, Mistake, check, check_value


def dice_of_an_organ(answer: Any) -> None:
    """7.1: the Dice of two masks."""

    def cases() -> list[tuple[Any, ...]]:
        truth = torch.zeros(6, 6, 6, dtype=torch.bool)
        truth[1:5, 1:4, 2:5] = True
        nothing = torch.zeros_like(truth)
        return [(truth.roll(1, 0), truth), (truth & truth.roll(2, 1), truth), (truth, truth), (nothing, truth)]

    def common(predicted: Tensor, truth: Tensor) -> Tensor:
        return (predicted & truth).sum()

    exercise = Exercise(
        name="7.1 Dice",
        right=lambda p, t: 2 * common(p, t) / (p.sum() + t.sum()),
        cases=cases,
        mistakes=(
            Mistake("twice the voxels in common: the factor 2 is missing.",
                    lambda p, t: common(p, t) / (p.sum() + t.sum())),
            Mistake("this is the intersection over the union (IoU). The Dice divides by the sum of both sizes.",
                    lambda p, t: common(p, t) / (p | t).sum()),
            Mistake("this is the share of right voxels, the background counted: it is high for any small organ.",
                    lambda p, t: (p == t).double().mean()),
            Mistake("this is the share of the truth that is found. Predicting too much has to cost something.",
                    lambda p, t: common(p, t) / t.sum()),
            Mistake("this is twice the share of the truth that is found. Divide by the sum of both sizes.",
                    lambda p, t: 2 * common(p, t) / t.sum()),
            Mistake("these are twice the voxels in common. Divide by the sum of both sizes.",
                    lambda p, t: 2 * common(p, t)),
        ),
        well_done="1 where both agree, 0 where they share nothing.",
    )  # fmt: skip
    check(exercise, answer)


_ONE_RUN = {
    "a": "another seed may turn the order around, and a difference of one run is no average over runs.",
    "b": "neither was shown: a small difference may be real, and one run cannot tell.",
    "d": "more steps make this run longer. What is missing are other seeds and more subjects.",
}


def what_one_run_says(answer: Any) -> None:
    """7.2: what a single comparison allows to say."""

    def hint(letter: Any) -> str | None:
        letter = letter.strip().lower()
        return None if letter == "c" else _ONE_RUN.get(letter, "answer with one letter: 'a', 'b', 'c' or 'd'.")

    check_value("7.2 Who won?", answer, hint, "one seed and few subjects decide nothing, whichever is ahead.")
