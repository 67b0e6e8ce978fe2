"""The checks of `fewer_labels`: right answers, known mistakes, open ones."""

import numpy as np
import pytest
import torch

from voco_lite import checks


def interpolated(steps, scores, target):
    """By another way than the check's own: every stretch is tried."""
    for (a, b), (low, high) in zip(
        torch.stack([steps[:-1], steps[1:]], 1), torch.stack([scores[:-1], scores[1:]], 1), strict=True
    ):
        if low < target <= high:
            return float(np.interp(target, [low, high], [a, b]))
    return None


def first_look(steps, scores, target):
    return steps[scores >= target][0]


def passed(steps, scores, target):
    """Right but for a score that equals the target."""
    at = next(i for i, score in enumerate(scores) if score > target)
    return np.interp(target, scores[at - 1 : at + 1], steps[at - 1 : at + 1])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (interpolated, "✓"),
        (first_look, "first look"),
        (passed, "equals the target"),
        (lambda steps, scores, target: steps[scores < target][0], "✗"),
        (lambda steps, scores, target: steps[scores >= target][0] - 1, "✗"),
        (lambda steps, scores, target: None, "○"),
        (..., "○"),
    ],
)
def test_the_steps_to_a_target_are_graded(capsys, answer, said):
    checks.steps_to_target(answer)
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "said"),
    [("c", "✓"), (" C ", "✓"), ("a", "eight were computed"), ("b", "mostly have been missed"), ("d", "no more seeds"),
     ("e", "one letter"), (3, "✗"), (..., "○")],
)  # fmt: skip
def test_what_the_table_says_is_graded(capsys, answer, said):
    checks.what_the_table_says(answer)
    assert said in capsys.readouterr().out
