"""Raw scores, one row for each subject of each run: the table from which every number of a benchmark is computed.

A *cell* is one run: a condition, a number of labelled subjects, a pre-training seed and a fine-tuning seed. Its rows
are written as one CSV file, whole or not at all, so that a benchmark which was interrupted knows what is done.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from voco_lite.tables import read_rows, write_rows


@dataclass(frozen=True, order=True)
class Score:
    """One row: how well one run did on one subject.

    Attributes:
        condition: What was compared, such as "scratch" or "voco".
        labelled: With how many labelled subjects it was fine-tuned.
        pretraining_seed: Of the pre-training; without one, of the first weights.
        finetuning_seed: Of the fine-tuning, nested in the pre-training seed.
        subject: Name of the subject that was scored.
        metric: What was measured, such as "dice".
        score: Its value.
    """

    condition: str
    labelled: int
    pretraining_seed: int
    finetuning_seed: int
    subject: str
    metric: str
    score: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise ValueError(
                f"score of subject {self.subject} ({self.condition}) must be finite, got {self.score}. "
                "Leave out subjects that cannot be scored, such as those that show no organ."
            )


def write_scores(file: str | Path, scores: Iterable[Score]) -> Path:
    """Write a table as CSV, whole or not at all; an earlier file is replaced."""
    return write_rows(file, Score, scores)


def read_scores(*files: str | Path) -> list[Score]:
    """The rows of one or more tables.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file that is no table of scores; the message names the line.
    """
    return [score for file in files for score in read_rows(file, Score)]
