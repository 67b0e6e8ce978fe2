"""Exercises of `fewer_labels`: how fast a run learns, and what a table of comparisons says."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from voco_lite.checks.grading import Exercise, Mistake, check, check_value


def steps_to_target(answer: Any) -> None:
    """1: steps until a curve of straight lines first reaches a target."""

    def cases() -> list[tuple[Any, ...]]:
        steps = torch.tensor([10.0, 20.0, 40.0, 80.0])
        return [
            (steps, torch.tensor([0.1, 0.3, 0.4, 0.5]), 0.35),
            (steps, torch.tensor([0.2, 0.6, 0.5, 0.7]), 0.55),
            (torch.arange(1.0, 9.0), torch.tensor([0.1, 0.5, 0.2, 0.25, 0.3, 0.35, 0.41, 0.6]), 0.4),
            (steps, torch.tensor([0.25, 0.5, 0.375, 0.75]), 0.5),  # exactly at the target, then below it again
        ]

    def beyond(scores: Tensor, target: float) -> int:
        return int((scores > target).nonzero()[0])

    exercise = Exercise(
        name="1 How fast?",
        right=lambda steps, scores, target: _crossing(steps, scores, target, _first(scores, target)),
        cases=cases,
        mistakes=(
            Mistake("a score that equals the target has reached it: `>=`, not `>`.",
                    lambda steps, scores, target: _crossing(steps, scores, target, beyond(scores, target))),
            Mistake("this is the first look at which the target was passed. The line crossed it earlier: interpolate.",
                    lambda steps, scores, target: steps[_first(scores, target)]),
            Mistake("this is the last look before the target. The line crosses it later: interpolate.",
                    lambda steps, scores, target: steps[_first(scores, target) - 1]),
            Mistake("this is the middle between two looks. Go as far between them as the target lies between the scores.",
                    lambda steps, scores, target: steps[_first(scores, target) - 1 : _first(scores, target) + 1].mean()),
        ),
        well_done="between two looks, as far as the target lies between the two scores.",
    )  # fmt: skip
    check(exercise, answer)


def _first(scores: Tensor, target: float) -> int:
    return int((scores >= target).nonzero()[0])


def _crossing(steps: Tensor, scores: Tensor, target: float, at: int) -> Tensor:
    share = (target - scores[at - 1]) / (scores[at] - scores[at - 1])
    return steps[at - 1] + share * (steps[at] - steps[at - 1])


_TABLE = {
    "a": "its interval stands alone and leaves out 0, but eight were computed: one such is easily found by chance.",
    "b": "neither was shown: a difference smaller than the last column would mostly have been missed.",
    "d": "scores of validation subjects were used to choose, and more steps make no more seeds.",
}


def what_the_table_says(answer: Any) -> None:
    """2: what an interval without 0 means when the corrected p-value is large."""

    def hint(letter: Any) -> str | None:
        letter = letter.strip().lower()
        return None if letter == "c" else _TABLE.get(letter, "answer with one letter: 'a', 'b', 'c' or 'd'.")

    check_value("2 What may be said?", answer, hint, "the p-value that counts all eight comparisons is far above 0.05.")
