"""Raw scores, one row for each subject of each run: the table from which every number of a benchmark is computed.

A *cell* is one run: a condition, a number of labelled subjects, a pre-training seed and a fine-tuning seed. Its rows
are written as one CSV file, whole or not at all, so that a benchmark which was interrupted knows what is done.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from voco_lite.checkpoints import write_text

_LARGEST_FILE = 64 * 2**20  # bytes; a row has some 60


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


COLUMNS = tuple(field.name for field in fields(Score))


def write_scores(file: str | Path, scores: Iterable[Score]) -> Path:
    """Write a table as CSV, whole or not at all; an earlier file is replaced."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(astuple(score) for score in scores)
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text.getvalue())
    return path


def read_scores(*files: str | Path) -> list[Score]:
    """The rows of one or more tables.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file that is no table of scores; the message names the line.
    """
    return [score for file in files for score in _read(Path(file))]


def _read(path: Path) -> list[Score]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no table of scores {path}. `python -m voco_lite benchmark` writes one.")
    if path.stat().st_size > _LARGEST_FILE:
        raise ValueError(f"{path} must be at most {_LARGEST_FILE:,} bytes, got more. Give the CSV of a benchmark.")
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream)
        head = tuple(next(reader, ()))
        if head != COLUMNS:
            raise ValueError(f"{path} must have the columns {', '.join(COLUMNS)}, got {', '.join(head)[:200]}.")
        return [_score(row, f"{path}, line {reader.line_num}") for row in reader]


def _score(row: Sequence[str], where: str) -> Score:
    kinds: dict[str, Any] = {"int": int, "float": float, "str": str}
    try:
        return Score(*(kinds[str(f.type)](text) for f, text in zip(fields(Score), row, strict=True)))
    except ValueError as error:
        raise ValueError(f"{where} must be {', '.join(COLUMNS)}, got {row} ({error}). Run that cell anew.") from error
