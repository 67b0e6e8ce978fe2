"""The runner of a protocol, by its task."""

from __future__ import annotations

from pathlib import Path

from voco_lite.benchmark.cells import CellRunner
from voco_lite.benchmark.conditions import plan_conditions
from voco_lite.benchmark.protocol import Protocol
from voco_lite.benchmark.registering import RegistrationRunner
from voco_lite.benchmark.segmenting import SegmentationRunner


def open_runner(protocol: Protocol, folder: str | Path, data: str | Path | None = None) -> CellRunner:
    """What runs the cells of a protocol.

    Args:
        protocol: What is run.
        folder: Of the benchmark.
        data: Folder of the subjects, where the protocol asks for one.

    Raises:
        ValueError, FileNotFoundError: As `CellRunner`.
    """
    runners: dict[str, type[CellRunner]] = {"segmentation": SegmentationRunner, "registration": RegistrationRunner}
    return runners[plan_conditions(protocol)[0].task](protocol, folder, data)
