"""The benchmark of segmentation: settings of its conditions, its runner at tiny size, the report, the command."""

import json
from dataclasses import replace

import pytest
import torch

from voco_lite.benchmark import segmenting
from voco_lite.benchmark.conditions import plan_conditions
from voco_lite.benchmark.protocol import SubjectSplit, build_protocol, find_protocol, read_protocol
from voco_lite.benchmark.report import read_report, write_report
from voco_lite.benchmark.running import fit_folder, plan_cells, run_benchmark
from voco_lite.benchmark.segmenting import SegmentationRunner, likeliest_by_place
from voco_lite.benchmark.speeds import Speed, speed_rows
from voco_lite.cli import main

SUBJECTS = [f"subject {n}" for n in range(8)]
TRAIN = {"batch_size": 2, "gauge_every": 1, "log_every": 1, "warmup_steps": 0, "device": "cpu", "precision": "fp32"}


def table(*more, **changes):
    """A protocol with two conditions of two steps, and further ones, as its plain table."""
    settings = {"preset": "ci", "source": "phantom", "subjects": 10, "organs": ["liver"], "patch_size": [16, 16, 16]}
    conditions = [
        {"name": "voco", "pretraining_steps": 1, "finetuning_steps": 2, "settings": {"start": "pretrained"}},
        {"name": "scratch", "finetuning_steps": 2},
        *more,
    ]
    return {
        "name": "tiny",
        "metric": "dice",
        "labelled": [1],
        "pretraining_seeds": [0, 1, 2],
        "finetuning_seeds": [0],
        "comparisons": [["voco", "scratch"]],
        "split": {"validation": 1, "test": 5},
        "settings": {**settings, "train": TRAIN, **changes},
        "conditions": conditions,
    }


def tiny(*more, **changes):
    return build_protocol(table(*more, **changes))


def condition(settings, **fields):
    return {"name": "other", "finetuning_steps": 2, "settings": settings, **fields}


TUNED = condition({"tries": [{"learning_rate": 1e-3}, {"learning_rate": 1e-2}]}, trials=2)
BOUND = condition({"labels": "all"}, reference=True)
RIDGE = condition({"head": "ridge", "start": "pretrained"}, pretraining_steps=1, reference=True)
PLACE = condition({"start": "coordinates"}, reference=True)


# Conditions


@pytest.mark.parametrize("name", ["ci", "population", "probes"])
def test_every_protocol_of_the_package_can_be_run(name):
    protocol = read_protocol(find_protocol(name))
    material, plans = plan_conditions(protocol)
    assert set(plans) == {condition.name for condition in protocol.conditions}
    held = protocol.split.validation + protocol.split.test
    assert material.subjects >= held + max(n for n in protocol.labelled if n != "all")


def test_a_protocol_that_is_neither_file_nor_name_is_refused():
    with pytest.raises(FileNotFoundError, match="no protocol nothing"):
        find_protocol("nothing")


def test_each_try_is_a_fine_tuning_of_its_own():
    plan = plan_conditions(tiny(TUNED))[1]["other"]
    assert [train.learning_rate for train in plan.trains] == [1e-3, 1e-2]
    assert all(train.steps == 2 and train.batch_size == 2 for train in plan.trains)


@pytest.mark.parametrize(
    ("settings", "fields", "said"),
    [
        ({"train": {"batch_size": 8}}, {}, "may change"),
        ({"train": {"steps": 80}}, {}, "may change"),
        ({"tries": [{"patience": 1}, {}]}, {"trials": 2}, "may change"),
        ({"start": "pretrained"}, {}, "where pretraining_steps is above 0"),
        ({}, {"pretraining_steps": 1}, "where pretraining_steps is above 0"),
        ({}, {"trials": 2}, "one try for each of 2 trials, got 0"),
        ({"tries": [{}]}, {}, "one try for each of 1 trials, got 1"),
        ({"head": "ridge"}, {}, "Mark it reference"),
        ({"start": "coordinates"}, {}, "Mark it reference"),
        ({"begin": "untrained"}, {}, "unknown fields"),
        ({"start": "elsewhere"}, {}, "must be one of"),
        ({"train": {"mode": "half"}}, {}, "must be one of"),
    ],
)
def test_a_condition_with_another_budget_or_a_wrong_setting_is_refused(settings, fields, said):
    with pytest.raises(ValueError, match=said):
        plan_conditions(tiny(condition(settings, **fields)))


@pytest.mark.parametrize("train", [{"steps": 5}, {"seed": 1}, {"run_folder": "x"}, {"patience": 1}, {"rate": 1.0}])
def test_what_cells_decide_is_no_setting_of_all(train):
    with pytest.raises(ValueError, match="may change"):
        plan_conditions(tiny(train=train))


# The runner


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A runner over ten phantoms, and its cells of the first seed by condition."""
    protocol = tiny(TUNED, {**BOUND, "name": "all labels"}, {**PLACE, "name": "place"}, {**RIDGE, "name": "ridge"})
    runner = SegmentationRunner(protocol, tmp_path_factory.mktemp("benchmark"))
    split = protocol.assign(list(runner.subjects))
    cells = plan_cells(protocol, split, "validation")
    return runner, {cell.condition.name: cell for cell in cells if cell.pretraining_seed == 0}


@pytest.mark.parametrize("name", ["voco", "scratch", "other", "all labels", "place", "ridge"])
def test_a_cell_scores_the_subjects_that_were_asked_for(runs, name):
    runner, cells = runs
    scores = runner(cells[name])["dice"]
    assert set(scores) == set(cells[name].scored) and all(0 <= score <= 1 for score in scores.values())


def test_a_cell_that_was_fitted_is_not_trained_again(runs, monkeypatch):
    runner, cells = runs
    first = runner(cells["voco"])
    monkeypatch.setattr("voco_lite.train.run.Run.take_step", lambda *_: pytest.fail("trained again"))
    assert runner(cells["voco"]) == first
    with pytest.raises(pytest.fail.Exception):
        runner(replace(cells["voco"], finetuning_seed=5))


def test_scratch_starts_from_the_weights_that_pre_training_starts_from(runs):
    runner, cells = runs
    start = runner._start(runner.plans["scratch"], cells["scratch"]).encoder.state_dict()
    begun = segmenting.VoCo(runner.plans["voco"].pretraining.changed(seed=0)).encoder.state_dict()
    assert all(torch.equal(start[name], begun[name]) for name in start)


def test_the_best_try_on_validation_subjects_is_taken(runs):
    runner, cells = runs
    task = runner._fit(runner.plans["other"], cells["other"])
    scores = [
        max(json.loads(line)["validation/score"] for line in (folder / "log.jsonl").read_text().splitlines())
        for folder in (fit_folder(runner.folder, cells["other"], number) for number in (0, 1))
    ]
    [kept] = segmenting.score_subjects(task, runner.validation).values()
    assert kept == pytest.approx(max(scores), abs=1e-4)


def test_an_upper_bound_sees_all_labels_and_others_only_theirs(runs, monkeypatch):
    runner, cells = runs
    seen = {}

    def look(start, split, config, seed):
        seen[len(seen)] = [subject.source for subject in split.training]
        raise KeyboardInterrupt

    monkeypatch.setattr(segmenting, "SegmentationTask", look)
    for name in ("scratch", "all labels"):
        with pytest.raises(KeyboardInterrupt):
            runner(replace(cells[name], pretraining_seed=1))
    assert seen == {0: list(cells["scratch"].labelled), 1: list(cells["all labels"].unlabelled)}
    assert len(seen[1]) == 4


def test_place_alone_copies_a_single_label_map_and_votes_among_several():
    maps = [torch.tensor(row, dtype=torch.uint8).view(4, 1, 1) for row in ([0, 1, 2, 2], [0, 1, 1, 1], [0, 0, 1, 2])]
    assert torch.equal(likeliest_by_place(maps[:1], (4, 1, 1)), maps[0])
    assert likeliest_by_place(maps, (4, 1, 1)).flatten().tolist() == [0, 1, 1, 2]
    assert torch.equal(likeliest_by_place(maps[:2], (4, 1, 1)), maps[0])


def test_place_alone_follows_another_grid():
    one = torch.tensor([1, 2], dtype=torch.uint8).view(2, 1, 1)
    assert likeliest_by_place([one], (4, 1, 1)).flatten().tolist() == [1, 1, 2, 2]


# The report


def curve(folder, scores):
    folder.mkdir(parents=True)
    records = [json.dumps({"step": 10 * n, "validation/score": s}) + "\n" for n, s in enumerate(scores, start=1)]
    (folder / "log.jsonl").write_text("".join(records))


def fake(cell):
    """Dice of a run that trains nothing: pre-training is worth 0.3."""
    gain = 0.3 * (cell.condition.pretraining_steps > 0) + 0.01 * cell.pretraining_seed
    return {"dice": {name: 0.4 + gain + 0.01 * (int(name[-1]) % 3) for name in cell.scored}}


def fake_fits(place, protocol):
    """Logs: the pre-trained runs get to 0.5 twice as fast."""
    for cell in plan_cells(protocol, protocol.assign(SUBJECTS), "test"):
        scores = (0.25, 0.5, 0.5, 0.5) if cell.condition.pretraining_steps else (0.0, 0.25, 0.375, 0.5)
        curve(fit_folder(place, cell, 0), scores)


def test_a_report_is_rebuilt_from_the_raw_scores(tmp_path):
    protocol = tiny()
    result = run_benchmark(protocol, SUBJECTS, noisy, tmp_path, stage="test")
    fake_fits(tmp_path, protocol)
    written = write_report(tmp_path, "test")
    for name in ("cells", "comparisons.csv", "report.md"):
        remove(tmp_path / "test" / name)
    assert read_report(tmp_path, "test") == written
    assert written.comparisons == result.comparisons and written.missing == 0
    assert [row["verdict"] for row in written.verdicts()] == [found.verdict for found in result.comparisons]


def noisy(cell):
    scores = fake(cell)["dice"]
    return {"dice": {name: score + 0.002 * (hash_of(cell, name) % 7) for name, score in scores.items()}}


def hash_of(cell, name):
    return sum(map(ord, cell.condition.name + name)) * (cell.pretraining_seed + 3)


def remove(path):
    for inner in path.iterdir() if path.is_dir() else ():
        inner.unlink()
    path.rmdir() if path.is_dir() else path.unlink()


def test_steps_until_nine_tenths_of_scratch_are_those_of_straight_lines(tmp_path):
    protocol = tiny()
    run_benchmark(protocol, SUBJECTS, noisy, tmp_path)
    fake_fits(tmp_path, protocol)
    report = write_report(tmp_path, "validation")
    assert len(report.speeds) == 3
    # 0.45 lies 4/5 of the way from step 10 to 20, and 3/5 of that from 30 to 40.
    assert {(speed.first_steps, speed.second_steps) for speed in report.speeds} == {(18.0, 36.0)}
    assert report.speeds[0].second_height == pytest.approx((0.125 + 0.3125 + 0.4375) / 3)
    assert "36" in str(report)


def test_a_run_that_never_arrives_counts_as_later_than_all():
    runs = [Speed("a", "b", 1, seed, 0, steps, 10.0, 0.1, 0.1) for seed, steps in enumerate((None, 20.0, None))]
    assert speed_rows(runs)[0]["steps of first"] == "never" and speed_rows(runs)[0]["steps of second"] == "10"
    assert speed_rows(runs[:2])[0]["steps of first"] == "never" and speed_rows(runs[1:2])[0]["steps of first"] == "20"


def test_an_unfinished_benchmark_is_reported_without_verdicts(tmp_path):
    run_benchmark(tiny(), SUBJECTS, noisy, tmp_path, stage="test", seconds=-1)
    report = write_report(tmp_path, "test")
    assert report.missing == 6 and report.comparisons == []
    assert "6 runs have not been done" in str(report)


def test_validation_scores_come_without_verdicts(tmp_path):
    run_benchmark(tiny(), SUBJECTS, noisy, tmp_path)
    report = write_report(tmp_path, "validation")
    assert report.comparisons == [] and "decide nothing" in str(report)


def test_a_record_that_was_changed_is_refused(tmp_path):
    run_benchmark(tiny(), SUBJECTS, noisy, tmp_path)
    file = tmp_path / "protocol.json"
    file.write_text(file.read_text().replace('"finetuning_steps": 2', '"finetuning_steps": 3'))
    with pytest.raises(ValueError, match="was changed after the benchmark began"):
        read_report(tmp_path, "validation")


def test_a_folder_without_a_benchmark_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="Give the folder of a benchmark"):
        read_report(tmp_path, "test")


# The command


class FakeRunner:
    """Stands in for what trains."""

    subjects = dict.fromkeys(SUBJECTS)

    def __init__(self, protocol, folder):
        self.split: SubjectSplit = protocol.assign(SUBJECTS)

    def __call__(self, cell):
        return noisy(cell)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs `benchmark` on a file with the tiny protocol."""
    monkeypatch.setattr(segmenting, "SegmentationRunner", FakeRunner)
    file = tmp_path / "tiny.toml"
    file.write_text(toml(table()))
    return lambda *more: main(["benchmark", str(file), "--folder", str(tmp_path / "run"), *more])


def toml(content):
    """A protocol as TOML, whose inline tables are near to JSON."""
    lines = [f"{name} = {inline(value)}" for name, value in content.items()]
    return "\n".join(lines) + "\n"


def inline(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {inline(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    return json.dumps(value)


def test_the_command_runs_and_reports_and_reports_again(command, tmp_path, capsys):
    assert command("--stage", "test") == 0, capsys.readouterr().err
    first = capsys.readouterr().out
    assert "| voco | scratch |" in first and (tmp_path / "run/test/comparisons.csv").is_file()
    assert command("--stage", "test", "--report") == 0
    assert capsys.readouterr().out == first


def test_the_command_opens_the_test_subjects_only_when_told(command, tmp_path, capsys):
    assert command() == 0, capsys.readouterr().err
    assert not (tmp_path / "run/test_opened.json").exists() and "decide nothing" in capsys.readouterr().out


def test_the_command_stops_in_time_and_goes_on(command, tmp_path, capsys):
    assert command("--minutes", "-1") == 0 and "6 runs have not been done" in capsys.readouterr().out
    assert command() == 0 and "have not been done" not in capsys.readouterr().out


def test_the_command_names_a_protocol_that_is_not_there(capsys):
    assert main(["benchmark", "nothing.toml"]) == 2
    assert "There is no protocol nothing.toml" in capsys.readouterr().err
