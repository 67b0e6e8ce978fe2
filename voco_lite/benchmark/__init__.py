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
from voco_lite.benchmark.msd import MsdFolder, msd_folder
from voco_lite.benchmark.planning import Cell
from voco_lite.benchmark.protocol import Condition, Protocol, SplitSizes, read_protocol
from voco_lite.benchmark.registry import BenchmarkTask, task, tasks, tasks_table
from voco_lite.benchmark.running import BenchmarkResult, run_benchmark
from voco_lite.benchmark.scores import Score, read_scores, write_scores
from voco_lite.benchmark.statistics import MIN_SEEDS, MIN_SUBJECTS, Comparison, compare_all, paired_scores
from voco_lite.benchmark.task_config import TaskConfig

__all__ = [
    "MIN_SEEDS",
    "MIN_SUBJECTS",
    "BenchmarkResult",
    "BenchmarkTask",
    "Cell",
    "Comparison",
    "Condition",
    "Interval",
    "MsdFolder",
    "Protocol",
    "Resamples",
    "Score",
    "SplitSizes",
    "TaskConfig",
    "compare_all",
    "detectable",
    "draw_resamples",
    "effect_size",
    "holm",
    "msd_folder",
    "paired_scores",
    "plain",
    "read_protocol",
    "read_scores",
    "run_benchmark",
    "student",
    "studentised",
    "task",
    "tasks",
    "tasks_table",
    "write_scores",
]
