"""Which condition is better? Comparisons of scores that are paired by subject and seeds, and what they allow to say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from voco_lite.benchmark.intervals import (
    LEVEL,
    Differences,
    Interval,
    detectable,
    draw_resamples,
    effect_size,
    holm,
    plain,
    studentised,
)
from voco_lite.benchmark.scores import Score

MIN_SUBJECTS = 5
MIN_SEEDS = 3
Verdict = Literal["better", "worse", "not decided"]
_RESAMPLES = 4000


@dataclass(frozen=True)
class Comparison:
    """What the scores say about two conditions.

    Attributes:
        first, second: The conditions.
        metric: What was measured.
        labelled: Labelled subjects that both were fine-tuned with.
        subjects, pretraining_seeds, finetuning_seeds: How many; fine-tuning seeds for each pre-training seed.
        mean_first, mean_second: Mean scores.
        difference: First minus second.
        low, high: Ends of its 95 % interval, not corrected for the other comparisons.
        p_value: Of this comparison alone.
        adjusted_p: Corrected for all comparisons of the family (Holm).
        effect_size: The difference in standard deviations over subjects (`voco_lite.benchmark.intervals.effect_size`).
        detectable: True difference that such a comparison finds with 80 % power, when no other of the family is decided
            (Holm's worst case).
        verdict: Of the first: "better" or "worse" when `adjusted_p` is at most 0.05, else "not decided".
    """

    first: str
    second: str
    metric: str
    labelled: int
    subjects: int
    pretraining_seeds: int
    finetuning_seeds: int
    mean_first: float
    mean_second: float
    difference: float
    low: float
    high: float
    p_value: float
    adjusted_p: float
    effect_size: float
    detectable: float
    verdict: Verdict

    def __str__(self) -> str:
        return (
            f"{self.first} against {self.second}, {self.metric}, {self.labelled} labelled: {self.verdict}, "
            f"{self.difference:+.3f} ({self.low:+.3f} to {self.high:+.3f}), p {p_text(self.adjusted_p)}; "
            f"a true difference of {self.detectable:.3f} is found in 4 of 5 such comparisons"
        )


def p_text(p_value: float) -> str:
    """A p-value with three decimals; smaller ones are never 0."""
    return f"{p_value:.3f}" if p_value >= 0.001 else "< 0.001"


def compare_all(
    scores: Iterable[Score],
    pairs: Sequence[tuple[str, str]],
    *,
    higher_is_better: bool = True,
    method: Literal["studentised", "plain"] = "studentised",
    seed: int = 0,
) -> list[Comparison]:
    """Compare pairs of conditions at every number of labelled subjects; all of them are one family.

    Args:
        scores: The raw scores, of one metric.
        pairs: Conditions to compare, first against second.
        higher_is_better: False for distances and errors.
        method: "studentised", or "plain" to see how sure the plain bootstrap is of the same scores.
        seed: Of the resamples.

    Returns:
        A comparison for each number of labelled subjects and each pair, in that order.

    Raises:
        ValueError: Several metrics, a missing, unpaired or repeated row, or fewer than 5 subjects or 3 pre-training
            seeds, from which no verdict holds.
    """
    rows = list(scores)
    metrics = sorted({row.metric for row in rows})
    if len(metrics) != 1 or not pairs:
        raise ValueError(
            f"A family compares pairs of conditions by one metric, got {len(pairs)} pairs and metrics {metrics}. "
            "Name the pairs and filter the rows first."
        )
    found = []
    counts = sorted({row.labelled for row in rows})
    family = len(counts) * len(pairs)
    decide = plain if method == "plain" else studentised
    for labelled in counts:
        part = [row for row in rows if row.labelled == labelled]
        for pair in pairs:
            values = [paired_scores(part, condition, other) for condition, other in (pair, pair[::-1])]
            _require_enough(values[0], labelled)
            # Every comparison has resamples of its own, so that none depends on which others were asked for.
            generator = np.random.default_rng(seed)
            drawn = draw_resamples(values[0].shape, _RESAMPLES, generator)
            interval = decide(values[0] - values[1], drawn)
            smallest = detectable(decide(values[0] - values[1], drawn, family))
            found.append((pair, labelled, values, interval, smallest))
    adjusted = holm(np.array([interval.p_value for *_, interval, _ in found]))
    return [
        _comparison(pair, metrics[0], labelled, values, interval, smallest, float(p), higher_is_better)
        for (pair, labelled, values, interval, smallest), p in zip(found, adjusted, strict=True)
    ]


def paired_scores(rows: Sequence[Score], condition: str, other: str) -> Differences:
    """Scores of one condition as an array over (subjects, pre-training seeds, fine-tuning seeds), in sorted order.

    Args:
        rows: Raw scores of one metric and one number of labelled subjects.
        condition: Whose scores.
        other: The condition that it will be paired with, which must have the same rows.

    Raises:
        ValueError: A missing or repeated row.
    """
    cells = {name: [_place(row) for row in rows if row.condition == name] for name in (condition, other)}
    everything = sorted({place for places in cells.values() for place in places})
    if not cells[condition] or not cells[other]:
        known = sorted({row.condition for row in rows})
        raise ValueError(f"Both conditions must have scores, got {condition!r} and {other!r}; there are {known}.")
    subjects, pretraining = sorted({p[0] for p in everything}), sorted({p[1] for p in everything})
    runs = [sorted({p[2] for p in everything if p[1] == seed}) for seed in pretraining]
    wanted = [(s, p, f) for s in subjects for p, inner in zip(pretraining, runs, strict=True) for f in inner]
    for name, places in cells.items():
        _require_balanced(name, wanted, places)
    if len({len(inner) for inner in runs}) > 1:
        counts = dict(zip(pretraining, map(len, runs), strict=True))
        raise ValueError(
            f"Every pre-training seed must have as many fine-tuning seeds, got {counts}. Run the missing ones."
        )
    value = {_place(row): row.score for row in rows if row.condition == condition}
    return np.array([value[place] for place in wanted]).reshape(len(subjects), len(pretraining), -1)


def _place(row: Score) -> tuple[str, int, int]:
    return row.subject, row.pretraining_seed, row.finetuning_seed


def _require_balanced(
    condition: str, wanted: Sequence[tuple[str, int, int]], got: Sequence[tuple[str, int, int]]
) -> None:
    missing, repeated = sorted(set(wanted) - set(got)), len(got) - len(set(got))
    if missing or repeated:
        first = f", the first: subject {missing[0][0]}, seeds {missing[0][1]} and {missing[0][2]}" if missing else ""
        raise ValueError(
            f"{condition!r} must have each subject and seeds exactly once, got {len(missing)} missing and {repeated} "
            f"repeated rows{first}. Run the missing cells, and give the rows of one metric and one benchmark only."
        )


def _require_enough(values: Differences, labelled: int) -> None:
    subjects, pretraining, _ = values.shape
    if subjects < MIN_SUBJECTS or pretraining < MIN_SEEDS:
        raise ValueError(
            f"A verdict needs at least {MIN_SUBJECTS} subjects and {MIN_SEEDS} pre-training seeds, got {subjects} and "
            f"{pretraining} with {labelled} labelled. Score more; `voco_lite.benchmark.student` shows an interval of fewer."
        )


def _comparison(
    pair: tuple[str, str],
    metric: str,
    labelled: int,
    values: Sequence[Differences],
    interval: Interval,
    smallest: float,
    adjusted: float,
    higher_is_better: bool,
) -> Comparison:
    subjects, pretraining, finetuning = values[0].shape
    verdict: Verdict = "not decided"
    if adjusted <= 1 - LEVEL + 1e-12:
        verdict = "better" if (interval.difference > 0) == higher_is_better else "worse"
    return Comparison(
        *pair,
        metric=metric,
        labelled=labelled,
        subjects=subjects,
        pretraining_seeds=pretraining,
        finetuning_seeds=finetuning,
        mean_first=float(values[0].mean()),
        mean_second=float(values[1].mean()),
        difference=interval.difference,
        low=interval.low,
        high=interval.high,
        p_value=interval.p_value,
        adjusted_p=adjusted,
        effect_size=effect_size(values[0] - values[1]),
        detectable=smallest,
        verdict=verdict,
    )
