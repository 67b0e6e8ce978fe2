"""The benchmarks still run. What they measure is read by people; no time is ever a test."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "benchmarks"
BRIEF = {
    "batch_preparation": ["--rounds", "1"],
    "encoder": ["--rounds", "1", "--features", "12", "--threads", "1", "--as-users-get", "--profile"],
    "imports": ["--rounds", "1"],
    "losses": ["--rounds", "1"],
    "step": ["--preset", "ci", "--rounds", "1"],
    "subjects": ["--subjects", "1"],
    "theatre": ["--preset", "ci", "--steps", "4", "--rounds", "1"],
    "viewers": ["--rounds", "1", "--voxels", "48"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BRIEF)
def test_a_benchmark_prints_its_ratios(name):
    command = [sys.executable, str(FOLDER / f"{name}.py"), *BRIEF[name]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "ratio" in done.stdout and "threads, torch" in done.stdout


TABLES = {
    "crops": (["--rounds", "1", "--threads", "1"], "off the line", 2),
    "folder": (["--scans", "20"], " MB", 1),
    "loader": (["--preset", "ci", "--steps", "2", "--scans", "4", "--workers", "0", "1"], "/s", 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_a_benchmark_prints_its_table(name):
    options, word, times = TABLES[name]
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), *options], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(word) == times and "threads, torch" in done.stdout


def test_every_benchmark_says_how_it_is_run():
    for file in FOLDER.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        if "__main__" in text:
            assert f"python tests/benchmarks/{file.name}" in text.split('"""')[1], file.name
