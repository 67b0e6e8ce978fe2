"""Who learns faster? The validation curves of two conditions, run by run."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from voco_lite.benchmark.conditions import Plan, plan_conditions
from voco_lite.benchmark.convergence import Curve, steps_to_share
from voco_lite.benchmark.planning import Cell, plan_cells
from voco_lite.benchmark.protocol import Protocol, SubjectSplit
from voco_lite.train.history import LOG

SHARE = 0.9


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


def compare_speeds(place: Path, protocol: Protocol, split: SubjectSplit) -> list[Speed]:
    """Every pair of runs whose logs a benchmark's folder holds; conditions that do not train have none."""
    plans = plan_conditions(protocol)[1]
    curves: dict[str, dict[tuple[int, int, int], Curve]] = {name: {} for name in plans}
    for cell in plan_cells(protocol, split, "validation"):
        curve = _curve(place, plans[cell.condition.name], cell)
        if curve is not None:
            run = len(cell.labelled), cell.pretraining_seed, cell.finetuning_seed
            curves[cell.condition.name][run] = curve
    return [
        _compared(first, second, run, curve, curves[second][run])
        for first, second in protocol.comparisons
        for run, curve in curves[first].items()
        if run in curves[second]
    ]


def _compared(first: str, second: str, run: tuple[int, int, int], curve: Curve, other: Curve) -> Speed:
    steps, other_steps = (steps_to_share(one, other, SHARE) for one in (curve, other))
    return Speed(first, second, *run, steps, other_steps, curve.mean_height, other.mean_height)


def speed_rows(speeds: Sequence[Speed]) -> list[dict[str, str]]:
    """One row of short texts for each pair of conditions and number of labelled subjects: medians over runs."""
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
        }
        for (first, second, labelled), group in groups.items()
    ]


def read_speeds(file: Path) -> list[Speed]:
    """The rows of a table that `rows_csv` wrote; none where there is no file.

    Raises:
        ValueError: Not such a table.
    """
    if not file.is_file():
        return []
    kinds: dict[str, Any] = {"str": str, "int": int, "float": float, "float | None": lambda t: float(t) if t else None}
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return [Speed(**{f.name: kinds[str(f.type)](row[f.name]) for f in fields(Speed)}) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} must be a table of speeds, got: {error}. Make it anew with --report.") from error


def _curve(place: Path, plan: Plan, cell: Cell) -> Curve | None:
    """Of a cell's tries, the curve of the one that was best on validation subjects."""
    folders = plan.fit_folders(place, cell)
    curves = [Curve.load(folder) for folder in folders if (folder / LOG).is_file()]
    return max(curves, key=lambda curve: max(curve.scores)) if len(curves) == len(folders) else None


def _median(steps: Sequence[float | None]) -> str:
    """Median where those that never arrived count as later than all others."""
    middle = float(np.median([np.inf if step is None else step for step in steps]))
    return "never" if np.isinf(middle) or np.isnan(middle) else f"{middle:.0f}"
