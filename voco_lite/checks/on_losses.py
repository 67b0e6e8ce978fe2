"""Exercises of notebook 03: the similarity and the terms of the prediction loss."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from voco_lite.checks.grading import Exercise, Mistake, check

EPS = 1e-6


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _cosine(crops: Tensor, bases: Tensor) -> Tensor:
    return F.normalize(crops, dim=-1) @ F.normalize(bases, dim=-1).mT


def position_similarity(answer: Any) -> None:
    """3.1: relu of the cosine of each random crop to each base crop."""
    exercise = Exercise(
        name="3.1 Position similarity",
        right=lambda crops, bases: _cosine(crops, bases).relu(),
        cases=lambda: [(_normal(2, 5), 3 * _normal(9, 5, seed=1)), (_normal(4, 8, seed=2), _normal(4, 8, seed=3))],
        mistakes=(
            Mistake("the cosines are right; some are negative. Set those to 0 with `.relu()`.", _cosine),
            Mistake(
                "these are dot products: longer vectors get more. Divide each vector by its length first.",
                lambda crops, bases: crops @ bases.mT,
            ),
            Mistake(
                "relu is there, but these are dot products. Divide each vector by its length first.",
                lambda crops, bases: (crops @ bases.mT).relu(),
            ),
            Mistake(
                "only one side has length 1. Normalise the crops and the bases.",
                lambda crops, bases: (crops @ F.normalize(bases, dim=-1).mT).relu(),
            ),
            Mistake(
                "only one side has length 1. Normalise the crops and the bases.",
                lambda crops, bases: (F.normalize(crops, dim=-1) @ bases.mT).relu(),
            ),
            Mistake(
                "you normalised over the crops, not over the features. The features are the last axis: dim=-1.",
                lambda crops, bases: (F.normalize(crops, dim=0) @ F.normalize(bases, dim=0).mT).relu(),
            ),
            Mistake("negative cosines become 0, they do not change sign.", lambda c, b: _cosine(c, b).abs()),
            Mistake("relu comes last: after the product, not before it.", lambda c, b: _cosine(c.relu(), b.relu())),
            Mistake(
                "there is no softmax in VoCo: each base crop is predicted by itself.",
                lambda crops, bases: _cosine(crops, bases).softmax(-1),
            ),
            Mistake(
                "rows and columns are swapped: one row per random crop, one column per base crop.",
                lambda crops, bases: _cosine(crops, bases).relu().mT,
            ),
        ),
        well_done="all pairs in one matrix product, every value between 0 and 1.",
    )
    check(exercise, answer)


def _similarity_and_labels() -> list[tuple[Any, ...]]:
    """Made-up similarities with labels like real ones; the last case holds the worst error, |y - s| = 1."""
    labels = torch.tensor([[0.5, 0.25, 0.25, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]])
    similarity = torch.tensor([[0.3, 0.4, 0.0, 0.2, 0.0], [0.1, 0.8, 0.0, 0.5, 0.3]])
    return [(similarity, labels), (1 - labels, labels)]


def _nearness(similarity: Tensor, labels: Tensor) -> Tensor:
    return (1 - (labels - similarity).abs() + EPS).log()


def positive_term(answer: Any) -> None:
    """3.2: the overlapped base crops."""
    exercise = Exercise(
        name="3.2 Positive term",
        right=lambda s, y: (-y * _nearness(s, y)).sum() / (y.sum() + EPS),
        cases=_similarity_and_labels,
        mistakes=(
            Mistake("the sign is wrong: a logarithm of something below 1 is negative, the loss is not.",
                    lambda s, y: (y * _nearness(s, y)).sum() / (y.sum() + EPS)),
            Mistake("without the 1e-6 inside the logarithm, a similarity that is wrong by 1 costs infinity.",
                    lambda s, y: (-y * (1 - (y - s).abs()).log()).nan_to_num(0, torch.inf).sum() / (y.sum() + EPS)),
            Mistake("without the 1e-6 inside the logarithm, a similarity that is wrong by 1 costs infinity.",
                    lambda s, y: (-y * (1 - (y - s).abs()).log()).sum() / (y.sum() + EPS)),
            Mistake("you took the mean over all entries. Divide by the sum of the labels: entries with label 0 do not count.",
                    lambda s, y: (-y * _nearness(s, y)).mean()),
            Mistake("you divided by the number of positive entries. The weights are the labels: divide by their sum.",
                    lambda s, y: (-y * _nearness(s, y)).sum() / ((y > 0).sum() + EPS)),
            Mistake("this is a sum; it grows with the number of crops. Divide by the sum of the labels.",
                    lambda s, y: (-y * _nearness(s, y)).sum()),
            Mistake("every overlapped base crop counts the same here (as in the paper-time head). Weight it by its label.",
                    lambda s, y: -((y > 0) * _nearness(s, y)).sum() / ((y > 0).sum() + EPS)),
            Mistake("the weight y is missing: all entries count the same.",
                    lambda s, y: (-_nearness(s, y)).mean()),
            Mistake("this is the logarithm of the error. Take it of 1 minus the error: it is 0 when the error is 0.",
                    lambda s, y: (-y * ((y - s).abs() + EPS).log()).sum() / (y.sum() + EPS)),
            Mistake("this is cross-entropy, -y log s: its minimum is not at s = y. Take the logarithm of 1 - |y - s|.",
                    lambda s, y: (-y * (s + EPS).log()).sum() / (y.sum() + EPS)),
        ),
        well_done="zero exactly where similarity and label agree, and weighted by the overlap.",
    )  # fmt: skip
    check(exercise, answer)


def negative_term(answer: Any) -> None:
    """3.3: the base crops without overlap."""

    def cost(s: Tensor) -> Tensor:
        return -(1 - s + EPS).log()

    exercise = Exercise(
        name="3.3 Negative term",
        right=lambda s, y: ((y == 0) * cost(s)).sum() / ((y == 0).sum() + EPS),
        cases=_similarity_and_labels,
        mistakes=(
            Mistake("this is the 2024 version, the square. The 2025 code takes -log(1 - s + 1e-6).",
                    lambda s, y: ((y == 0) * s**2).sum() / ((y == 0).sum() + EPS)),
            Mistake("you took the mean over all entries. Divide by the number of entries whose label is 0.",
                    lambda s, y: ((y == 0) * cost(s)).mean()),
            Mistake("positives are in it too. Only entries whose label is exactly 0 belong here.",
                    lambda s, y: cost(s).mean()),
            Mistake("1 - y gives overlapped base crops a weight too. Only entries whose label is exactly 0 belong here.",
                    lambda s, y: ((1 - y) * cost(s)).sum() / ((1 - y).sum() + EPS)),
            Mistake("these are the positives. Here we need the entries whose label is 0.",
                    lambda s, y: ((y > 0) * cost(s)).sum() / ((y > 0).sum() + EPS)),
            Mistake("this is a sum; it grows with the grid. Divide by the number of entries whose label is 0.",
                    lambda s, y: ((y == 0) * cost(s)).sum()),
            Mistake("the sign is wrong: a logarithm of something below 1 is negative, the loss is not.",
                    lambda s, y: -((y == 0) * cost(s)).sum() / ((y == 0).sum() + EPS)),
            Mistake("without the 1e-6 inside the logarithm, a similarity of 1 costs infinity.",
                    lambda s, y: (-(1 - s).log())[y == 0].mean()),
            Mistake("this punishes a similarity of 0, which is what we want here. Take -log(1 - s).",
                    lambda s, y: (-(s + EPS).log())[y == 0].mean()),
        ),
        well_done="free at similarity 0, and dearer and dearer towards 1.",
    )  # fmt: skip
    check(exercise, answer)


def reachable_crop(answer: Any) -> None:
    """3.4: a unit vector whose cosines to orthonormal bases are the labels."""

    def cases() -> list[tuple[Any, ...]]:
        axes = torch.linalg.qr(_normal(12, 12))[0].mT
        labels = torch.tensor([[0.5, 0.25, 0.25, 0, 0], [0.25, 0.25, 0.25, 0.25, 0], [0.9, 0.1, 0.0, 0, 0]])
        return [(axes[:5], axes[7], label) for label in labels]

    exercise = Exercise(
        name="3.4 Build a crop that reaches its label",
        right=lambda bases, rest, label: label @ bases + (1 - label.square().sum()).clamp(min=0).sqrt() * rest,
        cases=cases,
        mistakes=(
            Mistake(
                "the direction is the mix of base crops alone: its cosines are y / |y|, larger than y. It is also shorter "
                "than 1. Fill the missing length with `rest`: sqrt(1 - Σ y²), the squares before the sum.",
                lambda bases, rest, label: label @ bases,
            ),
            Mistake(
                "scaled to length 1, the mix has the cosines y / |y|, larger than y. Fill the missing length with `rest`.",
                lambda bases, rest, label: F.normalize(label @ bases, dim=-1),
            ),
            Mistake(
                "lengths add in squares (Pythagoras): the weight of `rest` is the square root of 1 - Σ y².",
                lambda bases, rest, label: label @ bases + (1 - label.square().sum()) * rest,
            ),
            Mistake(
                "the vector is too long: `rest` gets only the length that is missing, sqrt(1 - Σ y²).",
                lambda bases, rest, label: label @ bases + rest,
            ),
        ),
        well_done="length 1, and its cosines are the label exactly. Zero loss exists, because Σ y² is at most 1.",
    )
    check(exercise, answer)
