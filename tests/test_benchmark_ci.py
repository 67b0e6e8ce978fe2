"""The protocol `ci`, whole: killed on the way, continued, and judged."""

import csv
import os
import subprocess
import sys
import time
from collections import Counter

import pytest

from voco_lite.benchmark.report import read_report

CONDITIONS, RUNS, TEST_SUBJECTS = 9, 3 * 2, 6


def killed_after(command, cells, folder):
    """Start a benchmark and kill it once so many cells are there."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list(folder.glob("test/cells/*.csv"))) < cells and process.poll() is None:
        time.sleep(0.1)
    assert process.poll() is None, "it ended before it could be killed"
    process.kill()
    process.wait()


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_ci_protocol_continues_after_a_kill_and_ends_with_verdicts(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "voco_lite", "benchmark", "ci", "--folder", str(folder), "--stage", "test"]
    killed_after(command, 4, folder)
    before = {file: os.stat(file).st_mtime_ns for file in folder.glob("test/cells/*.csv")}
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(before) >= 4 and all(os.stat(file).st_mtime_ns == then for file, then in before.items())

    report = read_report(folder, "test")
    assert done.stdout.startswith(str(report)) and (folder / "test/report.md").read_text() == str(report)
    rows = Counter(score.metric for score in report.scores)
    # Frozen features, of two conditions, are also asked for regions.
    assert rows == {"dice": CONDITIONS * RUNS * TEST_SUBJECTS, "regions": 2 * RUNS * TEST_SUBJECTS}
    assert report.missing == 0
    with (folder / "test/comparisons.csv").open() as stream:
        verdicts = [row["verdict"] for row in csv.DictReader(stream)]
    assert len(verdicts) == 4 * 2 and set(verdicts) <= {"better", "worse", "not decided"}
    # Two of the four pairs train; the best try of each tuned run counts.
    assert len(report.speeds) == 2 * RUNS
    assert all((folder / "test" / name).stat().st_size > 5000 for name in ("scores.png", "differences.png"))
