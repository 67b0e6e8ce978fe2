"""An honest measurement of what pre-training brings: raw scores, statistics that may say "not decided", and the tasks."""

from voco_lite.benchmark.intervals import (
    Interval,
    Resamples,
    detectable,
    draw_resamples,
    effect_size,
    holm,
    plain,
    student,
    studentised,
)
from voco_lite.benchmark.scores import Score, read_scores, write_scores
from voco_lite.benchmark.statistics import MIN_SEEDS, MIN_SUBJECTS, Comparison, compare_all, paired_scores

__all__ = [
    "MIN_SEEDS",
    "MIN_SUBJECTS",
    "Comparison",
    "Interval",
    "Resamples",
    "Score",
    "compare_all",
    "detectable",
    "draw_resamples",
    "effect_size",
    "holm",
    "paired_scores",
    "plain",
    "read_scores",
    "student",
    "studentised",
    "write_scores",
]
