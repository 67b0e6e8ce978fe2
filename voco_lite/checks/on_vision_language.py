"""Exercises of notebook 10: which texts fit which scans, and what it means to find one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from voco_lite.checks.grading import Exercise, Mistake, check


def spread_targets(answer: Any) -> None:
    """10.1: the targets of a text that fits several scans."""
    exercise = Exercise(
        name="10.1 Targets of equal sentences",
        right=lambda fits: fits.double() / fits.double().sum(1, keepdim=True),
        cases=lambda: [
            (torch.tensor([[True, False, True], [False, True, False], [True, True, True]]),),
            (torch.tensor([[True, True, False, False], [True, False, False, False]]),),
        ],
        mistakes=(
            Mistake("a row has to sum to 1: it is a distribution over the scans.", lambda fits: fits.double()),
            Mistake("divide by how many scans the text fits, along the row, not along the column.",
                    lambda fits: fits.double() / fits.double().sum(0, keepdim=True)),
            Mistake("this spreads over all scans. Only those that the text fits get a share.",
                    lambda fits: torch.full(fits.shape, 1 / fits.shape[1], dtype=torch.float64)),
            Mistake("a softmax leaves something for scans that the text does not fit. Divide by the sum.",
                    lambda fits: fits.double().softmax(1)),
        ),
        well_done="equal sentences share their target, and none is pushed away from a scan that it describes.",
    )  # fmt: skip
    check(exercise, answer)


def recall(answer: Any) -> None:
    """10.2: recall at k."""

    def best(similarity: Tensor, k: int) -> Tensor:
        return similarity.argsort(1, descending=True)[:, :k]

    def right(similarity: Tensor, fits: Tensor, k: int) -> Tensor:
        return fits.gather(1, best(similarity, k)).any(1).double().mean()

    exercise = Exercise(
        name="10.2 Recall at k",
        right=right,
        cases=lambda: [
            (torch.tensor([[0.9, 0.1, 0.5, 0.2], [0.8, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]]),
             torch.tensor([[True, False, False, False], [False, True, False, False], [False, False, True, False]]), 2),
            (torch.tensor([[0.2, 0.7, 0.1], [0.6, 0.5, 0.4]]),
             torch.tensor([[False, True, True], [False, False, True]]), 1),
        ],
        mistakes=(
            Mistake("a query counts once, however many right ones it finds: any of them will do.",
                    lambda s, f, k: f.gather(1, best(s, k)).double().mean()),
            Mistake("this looks at the best one only. Any of the first k will do.", lambda s, f, k: right(s, f, 1)),
            Mistake("the first k are those with the *largest* similarity.", lambda s, f, k: right(-s, f, k)),
            Mistake("this is a count of queries. Take the share.", lambda s, f, k: right(s, f, k) * len(s)),
        ),
        well_done="the share of queries that find a right one among their first k. Say it beside chance.",
    )  # fmt: skip
    check(exercise, answer)
