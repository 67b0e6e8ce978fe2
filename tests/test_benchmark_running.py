"""The benchmark of segmentation: settings of its conditions, and its runner at tiny size."""

import json
from dataclasses import replace

import pytest
import torch

from tiny_benchmark import condition, tiny
from tiny_msd import msd_layout
from voco_lite.benchmark import cells as benchmark_cells
from voco_lite.benchmark import segmenting
from voco_lite.benchmark.committed import committed_subjects
from voco_lite.benchmark.conditions import plan_conditions
from voco_lite.benchmark.planning import plan_cells
from voco_lite.benchmark.protocol import find_protocol, read_protocol
from voco_lite.benchmark.runners import open_runner
from voco_lite.benchmark.segmenting import SegmentationRunner, likeliest_by_place
from voco_lite.downstream import score_subjects
from voco_lite.downstream.segmentation import SegmentationTask
from voco_lite.model import VoCo

TUNED = condition({"tries": [{"learning_rate": 1e-3}, {"learning_rate": 1e-2}]}, trials=2)
BOUND = condition({"labels": "all"}, reference=True)
RIDGE = condition({"head": "ridge", "start": "pretrained"}, pretraining_steps=1, reference=True)
PLACE = condition({"start": "coordinates"}, reference=True)


# Conditions


@pytest.mark.parametrize("name", sorted(file.stem for file in find_protocol("ci").parent.glob("*.toml")))
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


def test_a_try_that_another_condition_has_is_kept_there():
    again = condition({"tries": [{}, {"learning_rate": 1e-2}]}, trials=2)
    plans = plan_conditions(tiny(again, {**BOUND, "name": "all labels"}))[1]
    kept = {name: [(first.name, number) for first, number in plan.kept] for name, plan in plans.items()}
    assert kept == {
        "voco": [("voco", 0)],
        "scratch": [("scratch", 0)],
        "other": [("scratch", 0), ("other", 1)],
        "all labels": [("all labels", 0)],
    }


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
        ({"head": "affine"}, {"reference": True}, "something that segmentation knows"),
        ({"pretrained_on": "ct"}, {}, "Leave out pretrained_on"),
        ({"start": "pretrained", "pretraining": {"steps": 50}}, {"pretraining_steps": 1}, "alone, got"),
        ({"start": "pretrained", "pretraining": {"train__batch_size": 16}}, {"pretraining_steps": 1}, "alone, got"),
    ],
)
def test_a_condition_with_another_budget_or_a_wrong_setting_is_refused(settings, fields, said):
    with pytest.raises(ValueError, match=said):
        plan_conditions(tiny(condition(settings, **fields)))


@pytest.mark.parametrize("train", [{"steps": 5}, {"seed": 1}, {"run_folder": "x"}, {"patience": 1}, {"rate": 1.0}])
def test_what_cells_decide_is_no_setting_of_all(train):
    with pytest.raises(ValueError, match="may change"):
        plan_conditions(tiny(train=train))


def test_volumes_and_patches_differ_from_the_preset_as_a_protocol_says():
    protocol = tiny(volume={"intensity": "mr", "size": [32, 32, 32]}, by_organ=True, foreground_share=0.9, overlap=0.25)
    material, plans = plan_conditions(protocol)
    segmentation = material.segmentation
    assert (segmentation.by_organ, segmentation.foreground_share, segmentation.overlap) == (True, 0.9, 0.25)
    for plan in plans.values():
        assert (plan.pretraining.volume.intensity, plan.pretraining.volume.size) == ("mr", (32, 32, 32))


def test_a_long_pre_training_keeps_checkpoints_to_go_on_from():
    assert plan_conditions(tiny())[1]["voco"].pretraining.train.checkpoint_every == 1000


def test_a_field_that_volumes_do_not_have_is_refused():
    with pytest.raises(ValueError, match="volume__colour"):
        plan_conditions(tiny(volume={"colour": 1}))


def test_pre_training_on_the_ct_is_refused_where_its_warps_are_the_subjects():
    from_ct = condition({"start": "pretrained", "pretrained_on": "ct"}, pretraining_steps=1)
    assert plan_conditions(tiny(from_ct))
    with pytest.raises(ValueError, match="test subjects could be among them"):
        plan_conditions(tiny(from_ct, source="real"))


def test_two_encoders_are_not_compared():
    other = condition({"pretraining": {"norm": "group"}})
    assert plan_conditions(tiny(other))
    protocol = replace(tiny(other), comparisons=(("voco", "other"),))
    with pytest.raises(ValueError, match="'voco' and 'other' must have the same encoder"):
        plan_conditions(protocol)


def test_an_encoder_may_be_compared_with_none_at_all():
    affine = condition({"head": "affine"}, reference=True)
    small = {**condition({"pretraining": {"norm": "group"}}), "name": "small"}
    protocol = tiny(affine, small, task="registration", volume={"size": [32, 32, 32]})
    assert plan_conditions(replace(protocol, comparisons=(("small", "other"),)))


@pytest.mark.parametrize("task", ["segmentation", "registration"])
def test_a_scored_subject_without_an_organ_is_named_before_anything_is_trained(tmp_path, monkeypatch, task):
    monkeypatch.setattr(benchmark_cells, "organ_classes", lambda subject, organs: torch.zeros(3))
    with pytest.raises(ValueError, match=r"must show one of liver, got none in \['phantom"):
        open_runner(tiny(task=task), tmp_path)


@pytest.mark.parametrize(
    ("task", "metric", "higher"),
    [
        ("segmentation", "Dice", True),
        ("segmentation", "dice", False),
        ("segmentation", "target error, mm", False),
        ("registration", "target error, mm", True),
    ],
)
def test_a_metric_that_the_task_does_not_have_so_is_refused(task, metric, higher):
    with pytest.raises(
        ValueError, match=f"metric must be one of .* for {task}, .* got '{metric}' and {str(higher).lower()}"
    ):
        plan_conditions(replace(tiny(task=task), metric=metric, higher_is_better=higher))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"patch_size": [16, 16, 20]}, "'voco'.*got \\(16, 16, 20\\)"),
        ({"probe_size": [24, 16, 20]}, "'other'.*got \\(24, 16, 20\\)"),
        ({"task": "registration", "volume": {"size": [32, 32, 20]}}, "'voco'.*got \\(32, 32, 20\\)"),
    ],
)
def test_sizes_that_an_encoder_cannot_take_are_refused_before_anything_is_trained(tmp_path, changes, said):
    ridge = [condition({"head": "ridge"}, reference=True)] if "probe_size" in changes else []
    with pytest.raises(ValueError, match=f"patch_size, probe_size or volume of {said}"):
        open_runner(tiny(*ridge, **changes), tmp_path)


def test_a_folder_of_cases_has_no_first_seed():
    with pytest.raises(ValueError, match="Leave it out"):
        plan_conditions(tiny(source="msd", first_seed=100))


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


def test_frozen_features_are_asked_for_regions_where_there_are_others_to_compare_with(runs):
    runner, cells = runs
    assert "regions" not in runner(cells["ridge"])
    several = replace(cells["ridge"], scored=tuple(runner.subjects)[:3])
    found = runner(several)["regions"]
    assert set(found) == set(several.scored) and all(0 <= share <= 1 for share in found.values())


@pytest.mark.parametrize(("settings", "window"), [({}, (16, 16, 16)), ({"probe_size": [32, 32, 32]}, (32, 32, 32))])
def test_frozen_features_are_made_of_as_many_voxels_as_is_said(runs, settings, window, monkeypatch, tmp_path):
    protocol = tiny({**RIDGE, "name": "ridge"}, **settings)
    seen = []
    monkeypatch.setattr(segmenting, "DenseProbe", lambda training, scored, config: seen.append(config.window))
    runner = SegmentationRunner(protocol, tmp_path)
    monkeypatch.setattr(runner, "_start", lambda plan, cell: runs[0]._start(plan, runs[1]["voco"]))
    with pytest.raises(AttributeError):
        runner(replace(runs[1]["ridge"]))
    assert seen == [window]


def test_all_conditions_are_asked_for_regions_with_crops_of_one_size(runs, tmp_path):
    finer = {"cells": [4, 4, 1], "crop_size": [12, 12, 12], "network_size": [16, 16, 16]}
    protocol = tiny({**RIDGE, "name": "ridge", "settings": {**RIDGE["settings"], "pretraining": finer}})
    runner = SegmentationRunner(protocol, tmp_path)
    cell = replace(runs[1]["ridge"], scored=tuple(runner.subjects)[:2])
    assert set(runner(cell)["regions"]) == set(cell.scored)


def test_a_folder_in_msd_layout_gives_the_subjects(tmp_path):
    protocol = tiny(source="msd", organs=["box"], volume={"size": [32, 32, 32]}, subjects=10)
    runner = SegmentationRunner(protocol, tmp_path / "run", msd_layout(tmp_path / "data", n=11))
    assert list(runner.subjects) == [str(n) for n in range(10)]
    cells = plan_cells(protocol, protocol.assign(list(runner.subjects)), "validation")
    assert {cell.condition.name for cell in cells if set(runner(cell)["dice"]) == set(cell.scored)} == {
        "voco",
        "scratch",
    }


def test_protocols_with_other_first_seeds_share_no_subject(runs, tmp_path):
    others = SegmentationRunner(tiny(first_seed=10), tmp_path).subjects
    assert len(others) == len(runs[0].subjects) == 10 and not set(others) & set(runs[0].subjects)


def test_a_folder_gives_the_cases_of_the_committed_results_where_it_has_them(tmp_path, monkeypatch):
    data, protocol = msd_layout(tmp_path / "data", n=14), tiny(source="msd", organs=["box"])
    assert set(SegmentationRunner(protocol, tmp_path, data).subjects) == {str(n) for n in range(10)}
    last = frozenset(str(n) for n in range(4, 14))
    monkeypatch.setattr(benchmark_cells, "committed_subjects", lambda protocol: last)
    assert set(SegmentationRunner(protocol, tmp_path, data).subjects) == last
    monkeypatch.setattr(benchmark_cells, "committed_subjects", lambda protocol: last | {"elsewhere"})
    assert set(SegmentationRunner(protocol, tmp_path, data).subjects) == {str(n) for n in range(10)}


def test_the_package_knows_the_cases_of_its_results():
    cases = committed_subjects(read_protocol(find_protocol("screen-hippocampus")))
    assert len(cases) == 165 and "hippocampus_257" in cases
    assert committed_subjects(tiny()) == frozenset()


def test_a_folder_that_is_missing_or_too_small_is_named(tmp_path):
    protocol = tiny(source="msd", organs=["box"])
    with pytest.raises(FileNotFoundError, match="--data FOLDER"):
        SegmentationRunner(protocol, tmp_path)
    with pytest.raises(ValueError, match="must hold 10 labelled cases, got 2"):
        SegmentationRunner(protocol, tmp_path, msd_layout(tmp_path / "data", n=2))


def test_two_cases_of_one_name_are_refused(tmp_path):
    data = msd_layout(tmp_path / "data", n=10)
    (data / "again").mkdir()
    (data / "imagesTr" / "9.nii.gz").rename(data / "again" / "8.nii.gz")
    index = data / "dataset.json"
    index.write_text(index.read_text().replace("./imagesTr/9.nii.gz", "./again/8.nii.gz"))
    with pytest.raises(ValueError, match="names of their own, got 9 names"):
        SegmentationRunner(tiny(source="msd", organs=["box"]), tmp_path, data)


def test_pre_training_may_see_the_volumes_otherwise_prepared(runs, monkeypatch):
    body = condition({"start": "pretrained", "pretraining": {"foreground": 0.0}}, pretraining_steps=1)
    seen = []
    monkeypatch.setattr(benchmark_cells, "pretrain", lambda model, dataset, train: seen.append(dataset[0]))
    monkeypatch.setattr(benchmark_cells, "VoCoDataset", lambda volumes, crops, seed: volumes)
    runner, cells = runs
    plan = plan_conditions(tiny(body))[1]["other"]
    runner._start(plan, cells["voco"])
    [volume] = seen
    # Only the body is left and fills the same grid, so that its voxels are smaller.
    assert volume.shape == runner.subjects[volume.source].shape
    assert volume.spacing[1] < runner.subjects[volume.source].spacing[1]


def test_pre_training_on_another_modality_sees_warps_of_the_ct(runs, monkeypatch):
    seen, asked = [], []
    monkeypatch.setattr(benchmark_cells, "pretrain", lambda model, dataset, train: seen.append(dataset))
    monkeypatch.setattr(benchmark_cells, "VoCoDataset", lambda volumes, crops, seed: volumes)

    def made(n, volume, source):
        asked.append((n, volume.intensity, source))
        return [replace(subject, source=f"ct {i}") for i, subject in enumerate(list(runs[0].subjects.values())[:n])]

    monkeypatch.setattr(benchmark_cells.samples, "population", made)
    other = condition({"start": "pretrained", "pretrained_on": "ct"}, pretraining_steps=1)
    runner, cells = runs
    runner._start(plan_conditions(tiny(other))[1]["other"], cells["voco"])
    assert asked == [(4, "ct-abdomen", "real")] and [volume.source for volume in seen[0]] == [
        "ct 0",
        "ct 1",
        "ct 2",
        "ct 3",
    ]


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
    begun = VoCo(runner.plans["voco"].pretraining.changed(seed=0)).encoder.state_dict()
    assert all(torch.equal(start[name], begun[name]) for name in start)


def test_the_best_try_on_validation_subjects_is_taken(runs):
    runner, cells = runs
    settings = runner.material.segmentation
    make = lambda start, split, seed: SegmentationTask(start, split, settings, seed)  # noqa: E731
    task = runner._fit(runner.plans["other"], cells["other"], make)
    scores = [
        max(json.loads(line).get("validation/score", 0.0) for line in (folder / "log.jsonl").read_text().splitlines())
        for folder in runner.plans["other"].fit_folders(runner.folder, cells["other"])
    ]
    [kept] = score_subjects(task, runner.validation).values()
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
