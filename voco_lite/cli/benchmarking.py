"""`benchmark`: run a protocol, and show what it found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

_OTHER: dict[Literal["validation", "test"], Literal["validation", "test"]] = {
    "validation": "test",
    "test": "validation",
}


@dataclass(frozen=True)
class Benchmark:
    """Measure what pre-training brings, by a protocol; the same command continues an interrupted benchmark.

    Attributes:
        protocol: A TOML file, or the name of one that comes with the package: "ci", "probes", "population",
            "registration", "confirm-hippocampus", "screen-population", "screen-hippocampus",
            "screen-brain" or "screen-transfer".
        data: Folder of labelled scans in the layout of the Medical Segmentation Decathlon, for protocols on such.
        folder: Where everything goes; left out: runs/benchmark-PROTOCOL.
        stage: Whom to score. "validation" subjects may be looked at as often as you like and decide nothing; "test"
            opens the test subjects, for this protocol only, and gives verdicts.
        part: Several processes can share the work in one folder: "2 4" runs the second of four parts, each with
            pre-training seeds of its own.
        minutes: Start no further run after so long; left out: run all.
        report: Train nothing: make tables and plots anew from the scores that are there.
    """

    protocol: Positional[str]
    data: str | None = None
    folder: str | None = None
    stage: Literal["validation", "test"] = "validation"
    part: tuple[int, int] = (1, 1)
    minutes: float | None = None
    report: bool = False

    def run(self) -> None:
        """Run the cells that are missing, then print the tables."""
        from voco_lite import viewers
        from voco_lite.benchmark import run_benchmark
        from voco_lite.benchmark.protocol import find_protocol, read_protocol
        from voco_lite.benchmark.report import has_scores, write_report

        file = find_protocol(self.protocol)
        folder = Path(self.folder or Path("runs") / f"benchmark-{file.stem}")
        if not self.report:
            from voco_lite.benchmark.runners import open_runner

            protocol = read_protocol(file)
            runner = open_runner(protocol, folder, self.data)
            seconds = None if self.minutes is None else 60 * self.minutes
            names = list(runner.subjects)
            run_benchmark(
                protocol, names, runner, folder, stage=self.stage, part=self.part, seconds=seconds, progress=True
            )
        elif not has_scores(folder, self.stage) and has_scores(folder, other := _OTHER[self.stage]):
            raise FileNotFoundError(
                f"{folder} should hold scores of {self.stage} subjects, got some of {other} subjects only. "
                f"Add --stage {other}."
            )
        report = write_report(folder, self.stage)
        if report.scores:
            viewers.plot_scores(report).save(folder / self.stage / "scores.png")
        if report.looks:
            viewers.plot_learning_curves(report).save(folder / self.stage / "curves.png")
        found = report.comparisons or report.screened()
        if found:
            picture = viewers.plot_differences(found, screening=self.stage == "validation")
            picture.save(folder / self.stage / "differences.png")
        print(report)
        print(f"Folder: {folder}")
