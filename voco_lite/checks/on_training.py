"""Exercises of notebooks 05 and 06: how one sees that a run learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from voco_lite.checks.grading import Exercise, Mistake, check, check_value

EPS = 1e-6


def top1(answer: Any) -> None:
    """5.1: position top-1 with a tolerance."""

    def cases() -> list[tuple[Any, ...]]:
        overlaps = torch.tensor([[0.50, 0.40, 0.10, 0.0], [0.0, 0.3, 0.7, 0.0], [0.25, 0.25, 0.25, 0.25],
                                 [0.6, 0.0, 0.0, 0.4], [0.1, 0.9, 0.0, 0.0]])  # fmt: skip
        predicted = torch.tensor([[0.2, 0.9, 0.1, 0.0], [0.1, 0.8, 0.6, 0.0], [0.0, 0.1, 0.1, 0.4],
                                  [0.7, 0.1, 0.2, 0.6], [0.4, 0.3, 0.0, 0.1]])  # fmt: skip
        return [(predicted, overlaps, 0.15), (predicted, overlaps, 0.5), (predicted.roll(1, -1), overlaps, 0.15)]

    def chosen(predicted: Tensor, overlaps: Tensor) -> Tensor:
        return overlaps.gather(1, predicted.argmax(1, keepdim=True))[:, 0]

    exercise = Exercise(
        name="5.1 Position top-1",
        right=lambda p, y, tolerance: (chosen(p, y) >= y.amax(1) - tolerance).double().mean(),
        cases=cases,
        mistakes=(
            Mistake(
                "without the tolerance, a crop that lies half in one cell and half in the next counts as a miss half of "
                "the time.",
                lambda p, y, tolerance: (p.argmax(1) == y.argmax(1)).double().mean(),
            ),
            Mistake(
                "without the tolerance, a crop between two cells counts as a miss half of the time.",
                lambda p, y, tolerance: (chosen(p, y) >= y.amax(1)).double().mean(),
            ),
            Mistake(
                "these are hits per crop. Take their mean.",
                lambda p, y, tolerance: (chosen(p, y) >= y.amax(1) - tolerance).double(),
            ),
            Mistake(
                "this is the number of hits. Take their mean.",
                lambda p, y, tolerance: (chosen(p, y) >= y.amax(1) - tolerance).double().sum(),
            ),
            Mistake(
                "this is the mean overlap of the chosen cells. Count how often it is within the tolerance of the largest.",
                lambda p, y, tolerance: chosen(p, y).mean(),
            ),
            Mistake(
                "compare true overlaps with each other: the overlap of the chosen cell with the largest overlap. "
                "The predicted value does not enter.",
                lambda p, y, tolerance: (p.amax(1) >= y.amax(1) - tolerance).double().mean(),
            ),
            Mistake(
                "the choice is made per crop: argmax over the base crops, the last axis.",
                lambda p, y, tolerance: (
                    (y.gather(0, p.argmax(0, keepdim=True))[0] >= y.amax(0) - tolerance).double().mean()
                ),
            ),
        ),
        well_done="the share of crops that are put into a cell as good as the best one.",
    )
    check(exercise, answer)


_UNTRAINED = {
    "a": "it has seen no volume at all. There is nothing to leak from.",
    "b": "chance is far lower, as the table above shows.",
    "d": "the labels never enter the prediction; they only judge it.",
}


def why_untrained_is_good(answer: Any) -> None:
    """5.2: why random weights find positions."""

    def hint(letter: Any) -> str | None:
        letter = letter.strip().lower()
        return None if letter == "c" else _UNTRAINED.get(letter, "answer with one letter: 'a', 'b', 'c' or 'd'.")

    check_value(
        "5.2 Why is the untrained network so good?",
        answer,
        hint,
        "crops that overlap share voxels, and any fixed function gives similar outputs for shared voxels.",
    )


def orthogonal_level(answer: Any) -> None:
    """6.1: intra loss when every similarity is 0."""

    def cases() -> list[tuple[Any, ...]]:
        labels = torch.tensor([[0.5, 0.25, 0.25, 0, 0], [0.0, 0.9, 0.0, 0.1, 0.0]])
        return [(labels,), (labels[:1],), (torch.full((3, 9), 1 / 9),)]

    def level(labels: Tensor) -> Tensor:
        return -(labels * (1 - labels + EPS).log()).sum() / (labels.sum() + EPS)

    exercise = Exercise(
        name="6.1 The level of the ignorant",
        right=level,
        cases=cases,
        mistakes=(
            Mistake("the sign is wrong: the logarithm is negative, the loss is not.", lambda y: -level(y)),
            Mistake("divide by the sum of the labels, not by the number of entries.",
                    lambda y: -(y * (1 - y + EPS).log()).mean()),
            Mistake("with s = 0 the error is y, so the logarithm is of 1 - y. This is the logarithm of y.",
                    lambda y: -(y * (y + EPS).log()).sum() / (y.sum() + EPS)),
            Mistake("the weight y is missing.", lambda y: -(1 - y + EPS).log().mean()),
            Mistake("this is a sum; divide by the sum of the labels.", lambda y: -(y * (1 - y + EPS).log()).sum()),
        ),
        well_done="0.71 for the 3 x 3 grid. A run that stays there has learnt nothing.",
        tolerance=1e-3,
    )  # fmt: skip
    check(exercise, answer)


def effective_rank(answer: Any) -> None:
    """6.2: exponential of the entropy of the normalised singular values."""

    def cases() -> list[tuple[Any, ...]]:
        make = torch.Generator().manual_seed(6)
        spread = torch.randn(40, 6, generator=make) + 2
        return [(spread,), (spread * torch.tensor([5.0, 2.0, 1.0, 0.5, 0.1, 0.0]),)]

    def entropy(weights: Tensor) -> Tensor:
        share = weights / weights.sum()
        return -(share * (share + 1e-12).log()).sum()

    def values(x: Tensor) -> Tensor:
        return torch.linalg.svdvals(x - x.mean(0))

    exercise = Exercise(
        name="6.2 Effective rank",
        right=lambda x: entropy(values(x)).exp(),
        cases=cases,
        mistakes=(
            Mistake("this is the entropy. Its exponential is the number of directions.", lambda x: entropy(values(x))),
            Mistake(
                "subtract the mean embedding first; otherwise a shared offset counts as a direction.",
                lambda x: entropy(torch.linalg.svdvals(x)).exp(),
            ),
            Mistake(
                "you used the squares (the variances). The shares are of the singular values themselves.",
                lambda x: entropy(values(x).square()).exp(),
            ),
            Mistake(
                "this is the rank of algebra: a direction counts in full, however weak it is.",
                lambda x: torch.linalg.matrix_rank(x - x.mean(0)),
            ),
            Mistake(
                "the entropy is in bits here; its exponential needs the natural logarithm.",
                lambda x: (entropy(values(x)) / torch.tensor(2.0).log()).exp(),
            ),
            Mistake("divide the singular values by their sum before the entropy.",
                    lambda x: (-(values(x) * (values(x) + 1e-12).log()).sum()).exp()),
        ),
        well_done="many directions in use: high. All crops alike: near 1.",
        tolerance=1e-2,
    )  # fmt: skip
    check(exercise, answer)


_SIGNS = {
    "healthy": "the healthy run is the one whose held-out loss falls well below 0.71 and whose top-1 rises above the "
    "untrained level",
    "plateau": "on the plateau the loss stays near 0.71, because the steps are too small to leave it",
    "collapse": "in a collapse all embeddings become alike: the spread is near 0 and the loss is higher than 0.71",
    "labels": "when labels and crops disagree the network can only learn the average: the loss stays near that of the "
    "best constant while the embeddings spread out, and top-1 rises little",
}


def diagnosis(answer: Any, truth: Mapping[str, str]) -> None:
    """6.3: which run is which; ``truth`` maps run names to keys of the four diagnoses."""

    def hint(given: Any) -> str | None:
        if not isinstance(given, dict) or set(given) != set(truth):
            return f"give a dictionary with the keys {sorted(truth)}."
        if any(value is None or value is Ellipsis for value in given.values()):
            return "some runs have no diagnosis yet."
        unknown = sorted({str(value) for value in given.values()} - set(_SIGNS))
        if unknown:
            return f"{unknown[0]!r} is no diagnosis. Choose among {sorted(_SIGNS)}."
        wrong = [run for run in sorted(truth) if given[run] != truth[run]]
        if not wrong:
            return None
        return f"{len(wrong)} of {len(truth)} differ. Look at run {wrong[0]} again: {_SIGNS[str(given[wrong[0]])]}."

    empty = isinstance(answer, dict) and answer and all(value is None or value is Ellipsis for value in answer.values())
    check_value("6.3 Diagnose four runs", None if empty else answer, hint, "each fault has its own fingerprint.")
