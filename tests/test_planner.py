"""The planner: rows are found by what a step costs, plans multiply, and without a row no number is made up."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from tiny_run import tiny_config, train
from voco_lite import planner
from voco_lite.cli import main
from voco_lite.cli.printing import duration, gigabytes
from voco_lite.config import PretrainConfig, VolumeConfig
from voco_lite.volumes import VolumeFolder

CONFIG = tiny_config(steps=100, checkpoint_every=10, gauge_every=25)
ROW = planner.MeasuredStep(
    machine="Some GPU 80GB", preset="tiny", precision="bf16", settings=planner.cost_settings(CONFIG), seconds=0.5,
    fastest=0.4, slowest=0.7, gauge_seconds=3.0, peak_memory=2_000_000_000, steps=20, torch="2.13", date="2026-01-02",
)  # fmt: skip


def found(config=CONFIG, machine="Some GPU 80GB", precision="bf16", rows=(ROW,)):
    return planner.find_row(config, machine, precision, rows)


@pytest.fixture
def table(tmp_path):
    planner.add_row(ROW, tmp_path / "table.json")
    return tmp_path / "table.json"


# Rows


def test_a_row_is_found_by_a_part_of_the_machines_name():
    assert found(machine="gpu 80") == ROW


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": 3}, {"random_crops": 3}, {"norm": "group"}, {"objective__name": "cvpr24"}, {"accumulation": 2}],
    ids=str,
)
def test_a_setting_that_changes_the_cost_of_a_step_finds_no_row(changes):
    assert found(CONFIG.changed(**changes)) is None


@pytest.mark.parametrize(
    "changes", [{"steps": 7}, {"seed": 3}, {"learning_rate": 0.1}, {"run_folder": "x"}, {"merging": "legacy"}], ids=str
)
def test_a_setting_that_costs_nothing_finds_the_row(changes):
    assert found(CONFIG.changed(**changes)) == ROW


def test_another_precision_or_machine_finds_no_row():
    assert found(precision="fp32") is None and found(machine="Other GPU") is None


def test_any_precision_will_do_where_none_is_asked_for():
    assert found(precision=None) == ROW


def test_the_newest_of_several_rows_counts():
    newer = replace(ROW, date="2026-03-01", seconds=0.3)
    assert found(rows=[ROW, newer, replace(ROW, date="2025-01-01")]) == newer


def test_a_row_survives_the_table(table):
    assert planner.read_table(table)[-1] == ROW


def test_a_new_measurement_replaces_the_old_one_and_keeps_the_others(table):
    other = replace(ROW, machine="Other")
    planner.add_row(other, table)
    planner.add_row(replace(ROW, seconds=0.1), table)
    own = json.loads(table.read_text())
    assert [(row["machine"], row["seconds"]) for row in own] == [("Other", 0.5), ("Some GPU 80GB", 0.1)]


def test_a_table_that_is_none_is_refused_by_name(tmp_path):
    (tmp_path / "table.json").write_text('[{"machine": "x"}]')
    with pytest.raises(ValueError, match=r"table\.json should be a list of measured steps"):
        planner.read_table(tmp_path / "table.json")


def test_an_absent_table_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"plan --measure --table"):
        planner.read_table(tmp_path / "absent.json")


def test_every_row_of_the_packages_table_is_of_a_known_preset_and_fits_it_today():
    for row in planner.read_table():
        assert planner.cost_settings(PretrainConfig.preset(row.preset)) == row.settings, row
        assert 0 < row.fastest <= row.seconds <= row.slowest


# Plans


def test_time_is_steps_times_seconds():
    made = planner.plan(CONFIG, ROW)
    assert (made.seconds, made.fastest, made.slowest) == pytest.approx((50, 40, 70))


@pytest.mark.parametrize(
    ("steps", "gauge_every", "held_out", "measurements"),
    [(100, 25, 4, 5), (90, 25, 4, 5), (100, 0, 4, 2), (100, 25, 0, 0)],
)
def test_gauges_are_counted_as_a_run_takes_them(steps, gauge_every, held_out, measurements):
    made = planner.plan(CONFIG.changed(steps=steps, gauge_every=gauge_every), ROW, held_out)
    assert made.gauge_seconds == pytest.approx(3.0 * measurements)


def test_without_a_row_time_and_memory_are_unknown():
    made = planner.plan(CONFIG, None, 4)
    assert [made.row, made.seconds, made.gauge_seconds, made.peak_memory] == [None] * 4


@pytest.mark.parametrize("amsgrad", [False, True])
def test_checkpoints_are_as_large_as_predicted(amsgrad, tmp_path):
    config = tiny_config(steps=4, checkpoint_every=2, amsgrad=amsgrad, run_folder=str(tmp_path))
    train(config)
    made = planner.plan(config, None)
    sizes = [file.stat().st_size for file in (tmp_path / "checkpoints").glob("*.pt")]
    assert made.checkpoint == pytest.approx(max(sizes), rel=0.15)
    assert made.checkpoints == pytest.approx(sum(sizes) + (tmp_path / "final.pt").stat().st_size, rel=0.15)


# Data


@pytest.fixture
def folder(tmp_path):
    """Two scans of 20 x 30 x 8 voxels of 2 x 1 x 3 mm, stored with the axes (y, x, z)."""
    affine = np.array([[0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]])
    for number in range(2):
        image = nibabel.Nifti1Image(np.full((30, 20, 8), -40, np.int16), affine)
        nibabel.save(image, tmp_path / f"{number}.nii.gz")
    return tmp_path


@pytest.mark.parametrize("spacing", [None, (1.0, 2.0, 1.5)])
def test_headers_predict_the_size_of_prepared_volumes(folder, spacing):
    config = replace(CONFIG, volume=VolumeConfig(spacing=spacing, foreground=None))
    volumes = VolumeFolder(folder, config.volume)
    size = planner.folder_data(volumes, config)
    assert size.bytes == sum(volume.data.numel() * 2 for volume in volumes) and size.on_disk and not size.exact


@pytest.mark.parametrize("intensity", ["ct-abdomen", "none"])
def test_the_cache_is_as_large_as_predicted(folder, tmp_path, intensity):
    config = replace(CONFIG, volume=VolumeConfig(intensity, foreground=None, size=(32, 32, 32)))
    volumes = VolumeFolder(folder, config.volume, cache=tmp_path / "cache")
    voxels = [volume.data.numel() for volume in volumes]
    found = sum(entry.stat().st_size for entry in (tmp_path / "cache").iterdir())
    assert len(voxels) == 2 and planner.folder_data(volumes, config).bytes == pytest.approx(found, rel=0.05)


def test_a_fixed_size_needs_no_header(tmp_path):
    (tmp_path / "broken.nii").touch()
    size = planner.folder_data(VolumeFolder(tmp_path), CONFIG)
    x, y, z = CONFIG.volume.size
    assert size.bytes == 2 * x * y * z and size.exact


def test_volumes_that_keep_their_size_are_unknown_without_headers(tmp_path):
    (tmp_path / "broken.nii").touch()
    config = replace(CONFIG, volume=VolumeConfig(size=None))
    assert planner.folder_data(VolumeFolder(tmp_path), config) is None and planner.made_data(3, config) is None


# Measuring


def test_a_measurement_becomes_a_row_that_is_found_again(tmp_path):
    row = planner.measure(CONFIG, "tiny", steps=5)
    assert 0 < row.fastest <= row.seconds <= row.slowest and row.peak_memory > 0
    machine, precision = planner.here(CONFIG)
    assert planner.find_row(CONFIG, machine, precision, [row]) == row


def test_a_measurement_leaves_no_run_behind(tmp_path):
    planner.measure(CONFIG.changed(run_folder=str(tmp_path / "run")), "tiny", steps=5)
    assert not (tmp_path / "run").exists()


# The command

TINY = ["plan", "--preset", "ci", "--crops.cells", "2", "2", "1", "--train.device", "cpu", "--train.precision", "fp32"]


def test_the_command_without_a_row_names_no_time_and_says_how_to_measure(capsys):
    assert main([*TINY, "--train.batch-size", "3"]) == 0
    shown = capsys.readouterr().out
    assert "No measured step fits" in shown and "--measure" in shown
    assert "training  " not in shown and "memory  " not in shown and "checkpoints  " in shown


def test_the_command_measures_and_then_predicts_from_its_own_row(tmp_path, capsys):
    table = str(tmp_path / "my.json")
    assert main([*TINY, "--measure", "--measured-steps", "5", "--table", table]) == 0
    measured = capsys.readouterr().out
    assert main([*TINY, "--table", table]) == 0
    assert capsys.readouterr().out == measured and "training" in measured


def test_the_command_predicts_for_a_machine_of_the_table(table, capsys):
    row = replace(ROW, settings=planner.cost_settings(PretrainConfig.preset("laptop")))
    planner.add_row(row, table)
    assert main(["plan", "--preset", "laptop", "--device", "some gpu", "--table", str(table)]) == 0
    assert "6 min 40 s: 800 steps x 0.500 s (5 min 20 s to 9 min 20 s)" in capsys.readouterr().out


def test_the_command_times_the_preparation_of_a_folder(folder, capsys):
    assert main([*TINY, "--data", str(folder), "--measure", "--measured-steps", "5"]) == 0
    assert "2 scans x " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "absent"], "There is no folder absent"),
        (["--device", "H100", "--measure"], "measures this machine"),
        (["--table", "absent.json"], "There is no table absent.json"),
    ],
    ids=str,
)
def test_wrong_input_ends_with_code_2(arguments, said, capsys):
    assert main([*TINY, *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.31, "0.3 s"), (41, "41 s"), (125, "2 min 05 s"), (12_000, "3 h 20 min"), (446_400, "5 d 04 h")],
)
def test_durations_are_read_at_a_glance(seconds, text):
    assert duration(seconds) == text


def test_sizes_are_read_at_a_glance():
    assert (gigabytes(12_300_000), gigabytes(3_040_000_000)) == ("12 MB", "3.0 GB")


def test_the_process_reports_its_machine_by_name_and_threads():
    assert f"{torch.get_num_threads()} threads" in planner.machine_name(torch.device("cpu"))
