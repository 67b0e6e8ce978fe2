"""The benchmarks still run. What they measure is read by people; no time is ever a test."""

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tiny_run import tiny_config, train
from voco_lite import benchmark

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
    "benchmark": (["--threads", "1", "--probe-only"], "a dense probe of", 1),
    "crops": (["--rounds", "1", "--threads", "1"], "off the line", 2),
    "finetuning": (["--threads", "1", "--steps", "1", "--subjects", "1"], " s", 2),
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


@pytest.mark.slow
def test_frozen_probes_print_a_line_for_each_target_and_probe(tmp_path):
    train(tiny_config(steps=1, run_folder=str(tmp_path)))
    command = [sys.executable, str(FOLDER / "frozen_probes.py"), str(tmp_path), "--targets", "organ", "9 regions"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split(" | ")[:2] for line in done.stdout.splitlines()[-4:]] == [
        [f"| {target}", probe] for target in ("organ", "9 regions") for probe in ("kNN", "linear")
    ]


def test_brains_become_a_folder_in_msd_layout_with_each_person_once(tmp_path):
    given, out = tmp_path / "given", tmp_path / "out"
    given.mkdir()
    scan = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4))
    for person in ("1000", "1003", "1023"):
        for kind in ("t1", "labels"):
            nibabel.save(scan, given / f"{person}_{kind}.nii.gz")
    (given / "label_information.csv").write_text(
        "Label Number,Label Name,Class\n4,3rd Ventricle,CSF\n9,3rd Ventricle,\n"
    )
    (given / "subjects.csv").write_text("id,Notes\n1023,2nd Scan\n1003,1st Scan\n1000,\n")
    subprocess.run([sys.executable, str(FOLDER / "brains_as_msd.py"), str(given), str(out)], check=True)
    found = benchmark.msd_folder(out)
    assert [case.subject for case in found.training] == ["1000", "1003"]
    assert found.label_names == {0: "background", 4: "3rd Ventricle"}


def test_every_benchmark_says_how_it_is_run():
    for file in FOLDER.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        if "__main__" in text:
            assert f"python tests/benchmarks/{file.name}" in text.split('"""')[1], file.name
