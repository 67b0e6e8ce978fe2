"""Who is learnt from, who decides when to stop, and who is only examined at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Split:
    """Subjects in three groups. `fit` looks at the first two; the test subjects are opened by whoever reports on them.

    Attributes:
        training: What is learnt from.
        validation: Decides which weights are kept, and when to stop.
        test: Never looked at while anything is still being chosen.

    Raises:
        ValueError: Nothing to train on, or a subject in two groups.
    """

    training: Sequence[Any]
    validation: Sequence[Any] = ()
    test: Sequence[Any] = ()

    def __post_init__(self) -> None:
        if len(self.training) == 0:
            raise ValueError("A split needs at least one training subject, got none. Hold fewer back.")
        groups = {name: set(sources(getattr(self, name))) for name in ("training", "validation", "test")}
        for (one, here), (other, there) in combinations(groups.items(), 2):
            both = sorted(here & there)
            if both:
                raise ValueError(
                    f"Each subject may be in one group, got {', '.join(both[:3])} in both {one} and {other}. "
                    "Split by subject, such as with split_subjects."
                )


def split_subjects(subjects: Sequence[Any], validation: int, test: int, seed: int = 0) -> Split:
    """Put whole subjects at random into the three groups; training gets the rest.

    Args:
        subjects: All of them, each patient once.
        validation: How many decide.
        test: How many are kept for the end.
        seed: Of the order.

    Raises:
        ValueError: Nothing is left to train on.
    """
    if min(validation, test) < 0 or validation + test >= len(subjects):
        raise ValueError(
            f"validation and test must leave subjects to train on, got {validation} and {test} of {len(subjects)}. "
            "Hold fewer back."
        )
    order = np.random.default_rng(seed).permutation(len(subjects)).tolist()
    chosen = [subjects[index] for index in order]
    held_back = validation + test
    return Split(chosen[held_back:], chosen[:validation], chosen[validation:held_back])


def sources(subjects: Sequence[Any]) -> list[str]:
    """Where each subject comes from; of a folder that is not read yet, without reading it."""
    known = getattr(subjects, "sources", None)
    return list(known) if known is not None else [subject.source for subject in subjects]
