"""What a benchmark found, as tables: rebuilt from the raw scores, whenever that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voco_lite.benchmark.planning import Stage, plan_cells
from voco_lite.benchmark.protocol import Protocol, SubjectSplit
from voco_lite.benchmark.running import collect, compare, read_folder
from voco_lite.benchmark.scores import Score, read_scores
from voco_lite.benchmark.speeds import Look, Speed, collect_looks, compare_speeds, speed_rows
from voco_lite.benchmark.statistics import MIN_SEEDS, MIN_SUBJECTS, Comparison, compare_all, p_text
from voco_lite.checkpoints import write_text
from voco_lite.tables import read_rows, write_rows

Row = dict[str, str]
CURVES = "curves.csv"


@dataclass(frozen=True)
class Report:
    """One stage of a benchmark.

    Attributes:
        protocol: What was asked for.
        split: Who was in which group.
        stage: Who was scored.
        scores: Raw rows.
        comparisons: Verdicts; empty for validation subjects, and while runs are missing.
        looks: The curves of all runs on validation subjects; empty where they were not kept.
        missing: How many runs have not been done.
    """

    protocol: Protocol
    split: SubjectSplit
    stage: Stage
    scores: list[Score]
    comparisons: list[Comparison]
    missing: int
    looks: list[Look]

    @property
    def speeds(self) -> list[Speed]:
        """How fast each pair of runs learns that the protocol compares; empty where no curves were kept."""
        return compare_speeds(self.looks, self.protocol)

    def means(self) -> list[Row]:
        """Mean score by condition and number of labelled subjects, and between which values the runs lie."""
        counts = self.protocol.counts(self.split)
        rows = []
        for condition in self.protocol.conditions:
            runs = {n: self.run_means(condition.name, n) for n in counts}
            rows.append({"condition": condition.name, **{f"{n} labelled": _spread(found) for n, found in runs.items()}})
        return rows

    def run_means(self, condition: str, labelled: int) -> list[float]:
        """Mean over subjects of every run of a condition that was done, in the order of the seeds."""
        runs: dict[tuple[int, int], list[float]] = {}
        for row in self.scores:
            if (row.condition, row.labelled, row.metric) == (condition, labelled, self.protocol.metric):
                runs.setdefault((row.pretraining_seed, row.finetuning_seed), []).append(row.score)
        return [float(np.mean(runs[seeds])) for seeds in sorted(runs)]

    def verdicts(self) -> list[Row]:
        """One row of short texts for each comparison."""
        return [
            {
                "labelled": str(found.labelled),
                "first": found.first,
                "second": found.second,
                "difference (95 %)": f"{found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f})",
                "p, Holm": p_text(found.adjusted_p),
                "Hedges' g": f"{found.effect_size:.2f}",
                "found in 4 of 5 from": f"{found.detectable:.3f}",
                "verdict": found.verdict,
            }
            for found in self.comparisons
        ]

    def screened(self) -> list[Comparison]:
        """Differences on validation subjects by every metric that a pair shares, for choosing.

        Each interval stands on its own: nothing is corrected for how many there are, and their verdicts say nothing. By
        metrics other than the protocol's, which need no labels, only runs with the fewest are compared.
        There are none while runs are missing, nor of fewer subjects or seeds than an interval needs.
        """
        enough = len(self.protocol.pretraining_seeds) >= MIN_SEEDS and len(self.split.validation) >= MIN_SUBJECTS
        if self.stage != "validation" or self.missing or not enough:
            return []
        return [
            found
            for first, second in self.protocol.comparisons
            for metric in self._shared_metrics(first, second)
            for found in compare_all(self._rows(metric), [(first, second)])
        ]

    def _rows(self, metric: str) -> list[Score]:
        rows = [score for score in self.scores if score.metric == metric]
        fewest = min((score.labelled for score in rows), default=0)
        return [score for score in rows if metric == self.protocol.metric or score.labelled == fewest]

    def _shared_metrics(self, first: str, second: str) -> list[str]:
        metrics = [{score.metric for score in self.scores if score.condition == name} for name in (first, second)]
        return sorted(metrics[0] & metrics[1])

    def __str__(self) -> str:
        protocol = self.protocol
        seeds = f"{len(protocol.pretraining_seeds)} x {len(protocol.finetuning_seeds)} seeds"
        whom = f"{len(getattr(self.split, self.stage))} {self.stage} subjects, {seeds}"
        told = f"Mean {protocol.metric} of {whom}; in brackets the lowest and highest run."
        parts = [f"# {protocol.name}", f"{told} Protocol {protocol.sha256[:12]}.", markdown(self.means())]
        if self.missing:
            parts.append(f"{self.missing} runs have not been done: no verdicts. The same command goes on.")
        elif self.stage == "validation":
            parts.append("Validation subjects decide nothing: no verdicts.")
            if screened := self.screened():
                told = "Differences of the first, over subjects and seeds: for choosing, each interval on its own."
                parts += [told, markdown([_difference(found) for found in screened])]
        if self.comparisons:
            parts += ["Verdicts on the first, over subjects and seeds:", markdown(self.verdicts())]
        if speeds := self.speeds:
            told = (
                "Steps until 90 % of the second's last Dice on validation subjects (median; a run that is there at its first "
                "look gets that step), and mean heights of the curves:"
            )
            parts += [told, markdown(speed_rows(speeds))]
        return "\n\n".join(parts) + "\n"


def write_report(folder: str | Path, stage: Stage) -> Report:
    """Collect what a benchmark's folder holds, and write its tables: CSVs, and `report.md` in the stage's folder.

    Raises:
        FileNotFoundError: The folder holds no benchmark.
        ValueError: It holds collected scores only.
    """
    place = Path(folder)
    protocol, split = read_folder(place)
    collect(place, protocol, split, stage)
    write_rows(place / stage / CURVES, Look, collect_looks(place, protocol, split))
    report = read_report(place, stage)
    write_text(place / stage / "report.md", str(report))
    return report


def has_scores(folder: str | Path, stage: Stage) -> bool:
    """Whether a benchmark's folder holds anything of a stage."""
    place = Path(folder) / stage
    return (place / "scores.csv").is_file() or any(place.glob("cells/*.csv"))


def read_report(folder: str | Path, stage: Stage) -> Report:
    """A report from `protocol.json` and the stage's `scores.csv` and `curves.csv`; the verdicts are computed anew.

    Raises:
        FileNotFoundError: One of them is not there.
        ValueError: One of them is damaged.
    """
    place = Path(folder)
    protocol, split = read_folder(place)
    scores = read_scores(place / stage / "scores.csv")
    done = {(s.condition, s.labelled, s.pretraining_seed, s.finetuning_seed) for s in scores}
    missing = len(plan_cells(protocol, split, stage)) - len(done)
    comparisons = compare(protocol, scores) if stage == "test" and not missing else []
    curves = place / stage / CURVES
    looks = read_rows(curves, Look) if curves.is_file() else []
    return Report(protocol, split, stage, scores, comparisons, missing, looks)


def markdown(rows: Sequence[Row]) -> str:
    """Rows with the same columns as a table in Markdown."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _difference(found: Comparison) -> Row:
    return {
        "labelled": str(found.labelled),
        "first": found.first,
        "second": found.second,
        "metric": found.metric,
        "means": f"{found.mean_first:.3f}, {found.mean_second:.3f}",
        "difference (95 %)": f"{found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f})",
    }


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})" if values else ""
