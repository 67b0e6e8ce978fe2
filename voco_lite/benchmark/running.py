"""Run a protocol: cell by cell, each written when it is done, and the test subjects opened once.

A folder of a benchmark holds `protocol.json`, `validation/` and `test/` with one CSV a cell in `cells/`, all rows in
`scores.csv`, the verdicts in `comparisons.csv`, and `test_opened.json` from the moment the test subjects were looked at.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from voco_lite.benchmark.planning import Cell, Stage, cell_file, cells_of_part, plan_cells
from voco_lite.benchmark.protocol import Protocol, SubjectSplit, build_protocol
from voco_lite.benchmark.scores import Score, read_scores, write_scores
from voco_lite.benchmark.statistics import Comparison, compare_all
from voco_lite.checkpoints import write_text
from voco_lite.config.plain import build, plain, require
from voco_lite.tables import write_rows

OPENED = "test_opened.json"


# What runs a cell: metric, then subject, to score.
Runner = Callable[[Cell], Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class BenchmarkResult:
    """What a benchmark found.

    Attributes:
        scores: All rows so far.
        comparisons: The verdicts; empty while cells are missing, and for validation subjects, who decide nothing.
        not_run: Names of the cells that were not run.
    """

    scores: list[Score]
    comparisons: list[Comparison]
    not_run: list[str]


def run_benchmark(
    protocol: Protocol,
    subjects: Sequence[str],
    runner: Runner,
    folder: str | Path,
    *,
    stage: Stage = "validation",
    part: tuple[int, int] = (1, 1),
    seconds: float | None = None,
    progress: bool = False,
) -> BenchmarkResult:
    """Run the cells that are not there yet, and compare when all are.

    Args:
        protocol: What is run.
        subjects: Names of all subjects.
        runner: Runs one cell.
        folder: Of this benchmark; the same call continues it.
        stage: Whom to score. "test" opens the test subjects, for this protocol only.
        part: Run (2, 4): the second of four shares of the cells. Several processes can then work in one folder.
        seconds: Start no further cell after so long; None: run all.
        progress: Show a progress bar.

    Raises:
        ValueError: The folder belongs to another protocol or other subjects, a part that there is not, or a runner
            that does not score each subject.
    """
    place, split = Path(folder), protocol.assign(subjects)
    planned = cells_of_part(protocol, plan_cells(protocol, split, stage), part)
    claim_folder(place, protocol, split)
    if stage == "test":
        open_test(place, protocol)
    cells = [cell for cell in planned if not cell_file(place, stage, cell).is_file()]
    began = time.monotonic()
    for cell in tqdm(cells, desc="benchmark", unit="run", disable=not progress):
        if seconds is not None and time.monotonic() - began > seconds:
            break
        write_scores(cell_file(place, stage, cell), _rows(cell, runner(cell)))
    return collect(place, protocol, split, stage)


def collect(place: Path, protocol: Protocol, split: SubjectSplit, stage: Stage) -> BenchmarkResult:
    """Put the cells that are done into one table, and compare when none is missing.

    Raises:
        ValueError: A folder with collected scores and without those of its cells, which would be lost.
    """
    files = [cell_file(place, stage, cell) for cell in plan_cells(protocol, split, stage)]
    not_run = [file.stem for file in files if not file.is_file()]
    scores = read_scores(*(file for file in files if file.is_file()))
    table = place / stage / "scores.csv"
    require(
        bool(scores) or not (table.is_file() and read_scores(table)),
        f"{place / stage} should hold the scores of each cell, got only the collected {table.name}. Show it with the "
        "notebook fewer_labels or read_report, or give the folder of a run.",
    )
    write_scores(table, scores)
    comparisons: list[Comparison] = []
    if stage == "test" and not not_run:
        comparisons = compare(protocol, scores)
        write_rows(place / stage / "comparisons.csv", Comparison, comparisons)
    return BenchmarkResult(scores, comparisons, not_run)


def compare(protocol: Protocol, scores: Sequence[Score]) -> list[Comparison]:
    """The verdicts that a protocol asks for, recomputed from raw scores."""
    rows = [score for score in scores if score.metric == protocol.metric]
    pairs = [(first, second) for first, second in protocol.comparisons]
    return compare_all(rows, pairs, higher_is_better=protocol.higher_is_better)


def claim_folder(place: Path, protocol: Protocol, split: SubjectSplit) -> None:
    """Write the protocol and who is in which group; refuse a folder that belongs to others.

    Raises:
        ValueError: Another protocol, or other subjects.
    """
    file = place / "protocol.json"
    own = {"sha256": protocol.sha256, "protocol": plain(asdict(protocol)), "split": plain(asdict(split))}
    if not file.is_file():
        place.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(own, indent=1) + "\n")
    found = _read_json(file)
    if found.get("sha256") != own["sha256"] or found.get("split") != own["split"]:
        what = "protocol" if found.get("sha256") != own["sha256"] else "subjects"
        raise ValueError(
            f"{place} must belong to this protocol and its subjects, got other {what}. Take a new folder: scores of two "
            "protocols are not mixed."
        )


def open_test(place: Path, protocol: Protocol) -> None:
    """Record that the test subjects are looked at now, and by which protocol; the first record stays.

    The record lies in the benchmark's folder and binds this folder only: who runs the same subjects from another folder
    has to say so in the report.

    Raises:
        ValueError: Another protocol opened them.
    """
    record = {"sha256": protocol.sha256, "protocol": protocol.name, "opened": datetime.now(UTC).isoformat()}
    file = place / OPENED
    if not file.exists():
        write_text(file, json.dumps(record, indent=1) + "\n")
    found = _read_json(file)
    if found.get("sha256") != protocol.sha256:
        raise ValueError(
            f"The test subjects may be opened by one protocol, got {protocol.name!r} after {found.get('protocol')!r} at "
            f"{found.get('opened')}. Choose on validation subjects, and test on new ones."
        )


def _rows(cell: Cell, scores: Mapping[str, Mapping[str, float]]) -> list[Score]:
    for metric, by_subject in scores.items():
        missing, unknown = set(cell.scored) - set(by_subject), set(by_subject) - set(cell.scored)
        require(
            not missing and not unknown,
            f"{cell.condition.name} must score each subject by {metric}, got {sorted(missing)[:3]} missing and "
            f"{sorted(unknown)[:3]} that were not asked for. Correct the runner.",
        )
    return [
        Score(
            condition=cell.condition.name,
            labelled=len(cell.labelled),
            pretraining_seed=cell.pretraining_seed,
            finetuning_seed=cell.finetuning_seed,
            subject=subject,
            metric=metric,
            score=float(scores[metric][subject]),
        )
        for metric in scores
        for subject in cell.scored
    ]


def read_folder(place: Path) -> tuple[Protocol, SubjectSplit]:
    """The protocol of a benchmark's folder, and who is in which group.

    Raises:
        FileNotFoundError: The folder holds no benchmark.
        ValueError: The record was changed since.
    """
    file = place / "protocol.json"
    if not file.is_file():
        raise FileNotFoundError(f"There is no {file}. Give the folder of a benchmark, or run one into it.")
    found = _read_json(file)
    try:
        protocol = build_protocol(dict(found["protocol"]))
        split: SubjectSplit = build(SubjectSplit, found["split"], "split")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file} must hold a protocol and its groups of subjects, got: {error}. Restore it."
        ) from error
    require(found.get("sha256") == protocol.sha256, f"{file} was changed after the benchmark began. Restore it.")
    return protocol, split


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} must be a table in JSON, got: {error}. Restore it, or take a new folder.") from error
