"""What a benchmark found, as pictures: scores by number of labels, curves, and differences with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from voco_lite.viewers.curves import finish_axes
from voco_lite.viewers.pictures import BLACK, BLUE, GREEN, ORANGE, PINK, RED, SKY, Picture, figure_picture, new_figure

if TYPE_CHECKING:
    from voco_lite.benchmark import Comparison
    from voco_lite.benchmark.report import Report

_COLOURS = (BLUE, ORANGE, GREEN, RED, PINK, SKY, BLACK)
_MARKS = "os^vDP*X"
_BESIDE_CURVES = 10  # conditions whose legend has room among the curves
_VERDICT = {"better": GREEN, "worse": RED, "not decided": BLACK}


def plot_scores(report: Report) -> Picture:
    """Mean score of every condition against the number of labelled subjects, and each run as a small dot.

    Raises:
        ValueError: A report without scores.
    """
    if not report.scores:
        raise ValueError("report must hold scores, got none. Run a part of the benchmark first.")
    counts = report.protocol.counts(report.split)
    many = len(report.protocol.conditions) > _BESIDE_CURVES
    figure, words = new_figure(7, max(4.2, 0.19 * len(report.protocol.conditions))), []
    axes = figure.subplots()
    for i, condition in enumerate(report.protocol.conditions):
        runs = {place: report.run_means(condition.name, n) for place, n in enumerate(counts)}
        places = [place for place, found in runs.items() if found]
        means = [float(np.mean(runs[place])) for place in places]
        colour, mark = _COLOURS[i % len(_COLOURS)], _MARKS[i % len(_MARKS)]
        axes.plot(places, means, mark + "-", color=colour, label=condition.name, markersize=5)
        for place in places:
            axes.plot([place] * len(runs[place]), runs[place], ".", color=colour, alpha=0.4, markersize=4)
        words += [f"{condition.name} {means[0]:.2f} to {means[-1]:.2f}"] if means else []
    axes.set_xticks(range(len(counts)), [str(n) for n in counts])
    finish_axes(axes, report.protocol.metric, "labelled subjects")
    if many:
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    alt = f"Mean {report.protocol.metric} with {counts[0]} to {counts[-1]} labelled subjects: {'; '.join(words)}."
    return figure_picture(figure, alt)


def plot_learning_curves(report: Report) -> Picture:
    """Dice on validation subjects along fine-tuning: a panel for each number of labelled subjects; thin lines are runs.

    Raises:
        ValueError: A report without curves.
    """
    if not report.looks:
        raise ValueError("report must hold curves, got none. Its conditions do not train, or the curves were not kept.")
    counts = sorted({look.labelled for look in report.looks})
    names = [c.name for c in report.protocol.conditions if any(look.condition == c.name for look in report.looks)]
    figure, words = new_figure(3 * len(counts), 3.4), []
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for axes, count in zip(panels, counts, strict=True):
        for i, name in enumerate(names):
            runs, colour = _runs(report, name, count), _COLOURS[i % len(_COLOURS)]
            for run in runs:
                axes.plot(list(run), list(run.values()), color=colour, alpha=0.2, linewidth=0.6)
            steps = [step for step in runs[0] if all(step in run for run in runs)] if runs else []
            means = [float(np.mean([run[step] for run in runs])) for step in steps]
            axes.plot(steps, means, color=colour, linewidth=2, label=name)
            words += [f"{name}, {count} labelled, {means[0]:.2f} to {means[-1]:.2f}"] if means else []
        axes.set_title(f"{count} labelled", fontsize=9)
        finish_axes(axes, "Dice on validation subjects" if axes is panels[0] else "", "steps")
        if axes is not panels[0]:
            axes.get_legend().remove()
    return figure_picture(figure, f"Mean Dice on validation subjects along fine-tuning: {'; '.join(words)}.")


def _runs(report: Report, condition: str, labelled: int) -> list[dict[int, float]]:
    """Curves of a condition, run by run: score by step."""
    runs: dict[tuple[int, int], dict[int, float]] = {}
    for look in report.looks:
        if (look.condition, look.labelled) == (condition, labelled):
            runs.setdefault((look.pretraining_seed, look.finetuning_seed), {})[look.step] = look.score
    return list(runs.values())


def plot_differences(comparisons: Sequence[Comparison], screening: bool = False) -> Picture:
    """Differences with their 95 % intervals, one line each; one that is far wider than most runs off the picture.

    Args:
        comparisons: Of a finished test stage; the colour is the verdict, which counts all of them.
        screening: They are those of validation subjects, which decide nothing: no verdicts.

    Raises:
        ValueError: No comparison.
    """
    if not comparisons:
        raise ValueError("comparisons must be at least one, got none. Only a finished stage has them.")
    figure = new_figure(7, max(2.4, 1.2 + 0.28 * len(comparisons)))
    axes = figure.subplots()
    axes.axvline(0, color="0.7", linewidth=1)
    named: set[str] = set()
    span = _span(comparisons)
    for row, found in enumerate(comparisons):
        kind = found.metric if screening else found.verdict
        colour = _COLOURS[sorted({c.metric for c in comparisons}).index(kind)] if screening else _VERDICT[found.verdict]
        # An end at infinity cannot be drawn, one beyond the axis need not be.
        axes.plot(np.clip([found.low, found.high], *span), [row, row], color=colour, linewidth=2)
        axes.plot(found.difference, row, "o", color=colour, markersize=5, label=None if kind in named else kind)
        named.add(kind)
    labels = [f"{found.first} − {found.second}, {found.labelled}" for found in comparisons]
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlim(*span)
    metrics = " or ".join(sorted({found.metric for found in comparisons}))
    finish_axes(axes, "conditions, labelled subjects", f"difference of {metrics}")
    told = [_screened(found) if screening else str(found) for found in comparisons]
    return figure_picture(figure, "Differences. " + "; ".join(told) + ".")


def _span(comparisons: Sequence[Comparison]) -> tuple[float, float]:
    """Ends of the axis: 0, every difference, and every interval up to twice the usual width."""
    halves = np.array([(found.high - found.low) / 2 for found in comparisons])
    usual = float(np.median(halves[np.isfinite(halves)])) if np.isfinite(halves).any() else 0.0
    halves = np.minimum(halves, 2 * usual)
    middles = np.array([found.difference for found in comparisons])
    low, high = min(0.0, float((middles - halves).min())), max(0.0, float((middles + halves).max()))
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _screened(found: Comparison) -> str:
    """A difference without a verdict."""
    return (
        f"{found.first} minus {found.second}, {found.metric}, {found.labelled} labelled: {found.difference:+.3f} "
        f"({found.low:+.3f} to {found.high:+.3f})"
    )
