"""The table of measured steps: its rows, what makes one fit, and how it is read and written."""

from __future__ import annotations

import json
import typing
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from voco_lite.checkpoints import write_text
from voco_lite.config import PretrainConfig

TABLE = Path(__file__).with_name("measured_steps.json")


@dataclass(frozen=True)
class MeasuredStep:
    """One row of the table.

    Attributes:
        machine: Processor and threads, or GPU.
        preset: Name of the settings.
        precision: fp32, bf16 or fp16.
        settings: Everything that decides what a step costs (`cost_settings`).
        seconds: Of one optimizer step with loading, median over parts of the measurement.
        fastest, slowest: Of the parts.
        gauge_seconds: Of one held-out measurement of four volumes or more.
        peak_memory: Largest memory of the process, or on the GPU, in bytes.
        steps: How many steps were measured.
        torch: Its version.
        date: When.
    """

    machine: str
    preset: str
    precision: str
    settings: dict[str, Any]
    seconds: float
    fastest: float
    slowest: float
    gauge_seconds: float
    peak_memory: int
    steps: int
    torch: str
    date: str


def cost_settings(config: PretrainConfig) -> dict[str, Any]:
    """What decides how long a step takes and how much memory it needs."""
    crops, objective, train = config.crops, config.objective, config.train
    encoder = asdict(config.encoder)
    del encoder["merging"]
    settings = {
        "encoder": encoder,
        "objective": objective.name,
        "projector_dim": objective.projector_dim,
        "cells": crops.cells,
        "crop_size": crops.crop_size,
        "random_size": crops.random_size or crops.crop_size,
        "network_size": crops.network_size,
        "random_crops": crops.random_crops,
        "batch_size": train.batch_size,
        "accumulation": train.accumulation,
        "compile": train.compile,
        "tf32": train.tf32,
    }
    # As a table holds them: lists where the configuration has tuples.
    return typing.cast(dict[str, Any], json.loads(json.dumps(settings)))


def read_table(*files: str | Path) -> list[MeasuredStep]:
    """The rows of this package's table and of further files.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file that is no table of measured steps.
    """
    rows: list[MeasuredStep] = []
    for file in (TABLE, *map(Path, files)):
        if not file.is_file():
            raise FileNotFoundError(f"There is no table {file}. `plan --measure --table {file}` makes one.")
        try:
            rows += [MeasuredStep(**row) for row in json.loads(file.read_text(encoding="utf-8"))]
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(
                f"{file} should be a list of measured steps, but cannot be read ({error}). Measure it anew."
            ) from error
    return rows


def add_row(row: MeasuredStep, file: str | Path) -> None:
    """Write a row into a table, in place of an older one of the same machine, precision and settings."""
    path = Path(file)
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    same = ("machine", "precision", "settings")
    kept = [old for old in rows if any(old[name] != getattr(row, name) for name in same)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "[\n" + ",\n".join(json.dumps(one) for one in [*kept, asdict(row)]) + "\n]\n")


def find_row(
    config: PretrainConfig, machine: str, precision: str | None, rows: Sequence[MeasuredStep]
) -> MeasuredStep | None:
    """The newest row of a machine (or of a part of its name) with these settings; None: nothing like it was measured."""
    wanted = cost_settings(config)
    fits = [
        row
        for row in rows
        if machine.lower() in row.machine.lower() and row.settings == wanted and precision in (None, row.precision)
    ]
    return max(fits, key=lambda row: row.date, default=None)
