"""Who learns faster? The validation curves of all runs, kept as a table, and those of two conditions compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from voco_lite.benchmark.conditions import Plan, plan_conditions
from voco_lite.benchmark.convergence import Curve, steps_to_share
from voco_lite.benchmark.planning import Cell, plan_cells
from voco_lite.benchmark.protocol import Protocol, SubjectSplit
from voco_lite.checkpoints import FINAL
from voco_lite.train.history import LOG

SHARE = 0.9
_MIN_SEEDS = 3  # for an interval over pre-training seeds


@dataclass(frozen=True)
class Look:
    """A point of a run's curve.

    Attributes:
        condition: What was run.
        labelled, pretraining_seed, finetuning_seed: Of the run.
        step: Optimizer steps completed.
        score: Mean Dice of the validation subjects then, by which every task chooses its best weights.
    """

    condition: str
    labelled: int
    pretraining_seed: int
    finetuning_seed: int
    step: int
    score: float


@dataclass(frozen=True)
class Speed:
    """Two runs with the same labels and seeds.

    Attributes:
        first, second: The conditions.
        labelled: Labelled subjects of both.
        pretraining_seed, finetuning_seed: Of both.
        first_steps, second_steps: Until 90 % of the score at which the second ends; None: never.
        first_height, second_height: Areas under the curves over the steps that they span, in units of the score.
    """

    first: str
    second: str
    labelled: int
    pretraining_seed: int
    finetuning_seed: int
    first_steps: float | None
    second_steps: float | None
    first_height: float
    second_height: float


def collect_looks(place: Path, protocol: Protocol, split: SubjectSplit) -> list[Look]:
    """The curves of all runs that came to their end in a benchmark's folder; conditions that do not train have none."""
    plans = plan_conditions(protocol)[1]
    looks = []
    for cell in plan_cells(protocol, split, "validation"):
        curve = _curve(place, plans[cell.condition.name], cell)
        if curve is not None:
            run = cell.condition.name, len(cell.labelled), cell.pretraining_seed, cell.finetuning_seed
            looks += [Look(*run, step, score) for step, score in zip(curve.steps, curve.scores, strict=True)]
    return looks


def compare_speeds(looks: Sequence[Look], protocol: Protocol) -> list[Speed]:
    """Every pair of runs with the same labels and seeds that a protocol compares."""
    points: dict[tuple[str, tuple[int, int, int]], list[Look]] = {}
    for look in looks:
        run = look.labelled, look.pretraining_seed, look.finetuning_seed
        points.setdefault((look.condition, run), []).append(look)
    curves = {
        run: Curve(tuple(look.step for look in own), tuple(look.score for look in own)) for run, own in points.items()
    }
    return [
        _compared(first, second, run, curve, curves[second, run])
        for first, second in protocol.comparisons
        for (condition, run), curve in curves.items()
        if condition == first and (second, run) in curves
    ]


def _compared(first: str, second: str, run: tuple[int, int, int], curve: Curve, other: Curve) -> Speed:
    steps, other_steps = (steps_to_share(one, other, SHARE) for one in (curve, other))
    return Speed(first, second, *run, steps, other_steps, curve.mean_height, other.mean_height)


def speed_rows(speeds: Sequence[Speed]) -> list[dict[str, str]]:
    """One row of short texts for each pair of conditions and number of labelled subjects: medians and means over runs.

    The interval of the difference of heights is Student's over pre-training seeds; of fewer than three it has no ends.
    """
    groups: dict[tuple[str, str, int], list[Speed]] = {}
    for speed in speeds:
        groups.setdefault((speed.first, speed.second, speed.labelled), []).append(speed)
    return [
        {
            "first": first,
            "second": second,
            "labelled": str(labelled),
            "steps of first": _median([speed.first_steps for speed in group]),
            "steps of second": _median([speed.second_steps for speed in group]),
            "height of first": f"{np.mean([speed.first_height for speed in group]):.3f}",
            "height of second": f"{np.mean([speed.second_height for speed in group]):.3f}",
            "difference of heights (95 %)": _difference_of_heights(group),
        }
        for (first, second, labelled), group in groups.items()
    ]


def _curve(place: Path, plan: Plan, cell: Cell) -> Curve | None:
    """Of a cell's tries, the curve of the one that was best on validation subjects; None while one has not ended."""
    folders = plan.fit_folders(place, cell)
    ended = [folder for folder in folders if (folder / FINAL).is_file() and (folder / LOG).is_file()]
    loaded = [Curve.load(folder) for folder in ended]
    curves = [curve for curve in loaded if curve is not None]
    return max(curves, key=lambda curve: max(curve.scores)) if len(curves) == len(folders) else None


def _difference_of_heights(group: Sequence[Speed]) -> str:
    by_seed: dict[int, list[float]] = {}
    for speed in group:
        by_seed.setdefault(speed.pretraining_seed, []).append(speed.first_height - speed.second_height)
    means = [float(np.mean(found)) for found in by_seed.values()]
    if len(means) < _MIN_SEEDS or np.allclose(means, means[0]):
        return f"{np.mean(means):+.3f}"
    low, high = stats.ttest_1samp(means, 0.0).confidence_interval(0.95)
    return f"{np.mean(means):+.3f} ({low:+.3f} to {high:+.3f})"


def _median(steps: Sequence[float | None]) -> str:
    """Median where those that never arrived count as later than all others."""
    middle = float(np.median([np.inf if step is None else step for step in steps]))
    return "never" if np.isinf(middle) or np.isnan(middle) else f"{middle:.0f}"
