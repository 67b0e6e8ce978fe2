"""The cells of a protocol, and where in a benchmark's folder each is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from voco_lite.benchmark.protocol import Condition, Protocol, SubjectSplit
from voco_lite.config.plain import require

Stage = Literal["validation", "test"]


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        condition: What is run.
        labelled: Names of the subjects whose labels it may use.
        unlabelled: Names of all training subjects, for pre-training.
        scored: Names of the subjects to score.
        pretraining_seed, finetuning_seed: Of the run.
    """

    condition: Condition
    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...]
    scored: tuple[str, ...]
    pretraining_seed: int
    finetuning_seed: int

    @property
    def file_name(self) -> str:
        """A name of its own in a folder of cells."""
        condition = re.sub(r"[^A-Za-z0-9]+", "-", self.condition.name).strip("-")
        seeds = f"p{self.pretraining_seed}-f{self.finetuning_seed}"
        return f"{condition}-labelled{len(self.labelled):03}-{seeds}.csv"


def plan_cells(protocol: Protocol, split: SubjectSplit, stage: Stage) -> list[Cell]:
    """Every run of a protocol; all conditions of one seed come before the next seed, so that a part is balanced."""
    scored = split.test if stage == "test" else split.validation
    cells = [
        Cell(condition, split.labelled(n, p, f), split.training, scored, p, f)
        for p in protocol.pretraining_seeds
        for f in protocol.finetuning_seeds
        for n in protocol.counts(split)
        for condition in protocol.conditions
    ]
    names = {cell.file_name for cell in cells}
    require(len(names) == len(cells), "Names of conditions must differ in letters or digits. Rename one of them.")
    return cells


def cells_of_part(protocol: Protocol, cells: Sequence[Cell], part: tuple[int, int]) -> list[Cell]:
    """The cells of one of several processes: whole pre-training seeds, so that no encoder is pre-trained twice.

    Args:
        protocol: What is run.
        cells: All of them.
        part: Which one of how many, counted from 1.

    Raises:
        ValueError: A part that there is not, or more of them than pre-training seeds.
    """
    number, parts = part
    seeds = protocol.pretraining_seeds
    require(
        1 <= number <= parts <= len(seeds),
        f"A part must be one of at most {len(seeds)}, as many as there are pre-training seeds, got {number} of {parts}. "
        f"Take 1 {len(seeds)} to {len(seeds)} {len(seeds)}.",
    )
    return [cell for cell in cells if seeds.index(cell.pretraining_seed) % parts == number - 1]


def cell_file(place: Path, stage: Stage, cell: Cell) -> Path:
    """Where the scores of a cell lie."""
    return place / stage / "cells" / cell.file_name


def fit_folder(place: Path, cell: Cell, number: int) -> Path:
    """Run folder of a cell's fine-tuning; of several tries, that of one."""
    return place / "fits" / Path(cell.file_name).stem / f"try{number}"
