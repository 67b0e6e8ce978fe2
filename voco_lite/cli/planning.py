"""`plan`: what a run will take, before it is started."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voco_lite.cli.pretraining import PARTS
from voco_lite.cli.printing import duration, gigabytes
from voco_lite.config import PretrainConfig

if TYPE_CHECKING:
    from voco_lite.planner import DataSize, MeasuredStep, RunPlan
    from voco_lite.volumes import VolumeFolder

_TIMED_SCANS = 3


@dataclass(frozen=True)
class Plan(PretrainConfig):
    """Predict time, memory and disk of a run from measured steps; all options of `pretrain` may follow.

    Attributes:
        preset: Named settings that all other options start from.
        data: A folder of scans, or made data: "population" or "phantoms".
        pattern: Keep scans of a folder whose file name fits.
        subjects: How many made subjects to train on.
        held_out: Volumes of the held-out gauges; 0: none.
        device: "auto" is this machine; or a part of the name of one in the table, such as "H100".
        measure: Train a few steps on noise here and time them, and prepare three scans of the folder.
        measured_steps: How many steps to time.
        table: A further table of measured steps; with `--measure` the row is added to it.
    """

    preset: str = "laptop"  # type: ignore[assignment]  # hides the constructor of that name, on purpose
    data: str = "population"
    pattern: str | None = None
    subjects: int = 24
    held_out: int = 8
    device: str = "auto"
    measure: bool = False
    measured_steps: int = 20
    table: str | None = None

    def run(self) -> None:
        """Print the plan."""
        from voco_lite import planner

        config = PretrainConfig(**{name: getattr(self, name) for name in PARTS})
        folder = self._folder(config)
        machine, precision = self._machine(config)
        if self.measure:
            row: MeasuredStep | None = planner.measure(config, self.preset, self.measured_steps)
            if self.table and row:
                planner.add_row(row, self.table)
        else:
            rows = planner.read_table(*([self.table] if self.table else []))
            row = planner.find_row(config, machine, precision, rows)
            if row is None:
                print(_nothing_fits(self.preset, machine, precision, rows))
        print("\n".join(_lines(config, planner.plan(config, row, self.held_out))))
        print("\n".join(self._data_lines(config, folder)))

    def _machine(self, config: PretrainConfig) -> tuple[str, str | None]:
        from voco_lite import planner

        if self.device == "auto":
            return planner.here(config)
        if self.measure:
            raise ValueError(f"plan --measure measures this machine, got --device {self.device}. Leave --device out.")
        return self.device, None if config.train.precision == "auto" else config.train.precision

    def _folder(self, config: PretrainConfig) -> VolumeFolder | None:
        from voco_lite import VolumeFolder

        if self.data in ("population", "phantoms"):
            return None
        if not Path(self.data).exists():
            raise FileNotFoundError(
                f'There is no folder {self.data}. Give a folder of scans, "population" or "phantoms".'
            )
        return VolumeFolder(self.data, config.volume, self.pattern)

    def _data_lines(self, config: PretrainConfig, folder: VolumeFolder | None) -> list[str]:
        from voco_lite import planner

        if folder is None:
            return [_data_line(planner.made_data(self.subjects + self.held_out, config))]
        lines = [_data_line(planner.folder_data(folder, config))]
        if self.measure:
            seconds, timed = _preparation(folder)
            whole = duration(seconds * len(folder))
            lines.append(f"preparation  {whole}: {len(folder)} scans x {seconds:.2f} s (mean of {timed} here), once")
        else:
            lines.append("preparation  not measured: add --measure to prepare three scans")
        return lines


def _nothing_fits(preset: str, machine: str, precision: str | None, rows: Sequence[MeasuredStep]) -> str:
    """What was measured instead, and how to measure this."""
    others = sorted({f"{row.preset} in {row.precision} on {row.machine}" for row in rows})
    wanted = f"{precision or 'any precision'} on {machine}"
    return (
        f"No measured step fits {preset} with these settings in {wanted}, so time and memory are not known. Measured: "
        f"{'; '.join(others) or 'nothing'}. Measure on that machine: python -m voco_lite plan --preset {preset} "
        "--measure --table my_steps.json, with the same options."
    )


def _lines(config: PretrainConfig, plan: RunPlan) -> list[str]:
    kept = f"{gigabytes(plan.checkpoints)} on disk at most"
    each = f", {gigabytes(plan.checkpoint)} each" if config.train.checkpoint_every else ", the trained model only"
    lines = [f"checkpoints  {kept}{each}"]
    row, times = plan.row, (plan.seconds, plan.fastest, plan.slowest)
    if row is None:
        return lines
    whole, fastest, slowest = (duration(seconds or 0) for seconds in times)
    training = f"{whole}: {config.train.steps} steps x {row.seconds:.3f} s ({fastest} to {slowest})"
    return [
        f"measured     {row.preset} in {row.precision} on {row.machine}, torch {row.torch}, {row.date}",
        f"training     {training}",
        f"gauges       {duration(plan.gauge_seconds or 0)}",
        f"memory       {gigabytes(plan.peak_memory or 0)} on noise; making or preparing volumes comes on top",
        *lines,
    ]


def _data_line(size: DataSize | None) -> str:
    if size is None:
        return "data         not known before the volumes are prepared: they keep sizes of their own"
    place = "on disk, prepared once" if size.on_disk else "in memory"
    about = "" if size.exact else "about "
    return f"data         {about}{gigabytes(size.bytes)} {place}: {size.volumes} volumes"


def _preparation(folder: VolumeFolder) -> tuple[float, int]:
    """Mean seconds to read and prepare a scan, and of how many.

    Raises:
        ValueError: None of them can be used.
    """
    part = folder[:: max(1, len(folder) // _TIMED_SCANS)][:_TIMED_SCANS]
    began = time.perf_counter()
    usable, broken = part.checked()
    if not usable:
        raise ValueError(
            f"There must be a scan that can be prepared, got none of {len(part)}. {next(iter(broken.values()))}"
        )
    return (time.perf_counter() - began) / len(usable), len(usable)
