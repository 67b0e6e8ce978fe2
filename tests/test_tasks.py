"""The registry of the 51 tasks, and data in MSD layout, believed in nothing."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from tiny_msd import msd_layout
from voco_lite import benchmark
from voco_lite.benchmark import registry
from voco_lite.config import EncoderConfig, PretrainConfig, VolumeConfig
from voco_lite.downstream import Split, fit, split_subjects, untrained
from voco_lite.encoders import build_encoder

HIPPOCAMPUS = Path(__file__).resolve().parents[2] / "shared" / "data" / "Task04_Hippocampus"
SETTINGS = ("spacing", "roi", "patches", "positive_share", "learning_rate", "weight_decay", "batch_size", "epochs",
            "warmup_epochs", "mixed_precision")  # fmt: skip
USABLE = [task for task in benchmark.tasks() if not task.obstacle]


@pytest.fixture
def folder(tmp_path):
    """A made-up data set of three subjects with two structures."""
    place = tmp_path / "Task99_Made"
    generator = np.random.default_rng(0)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    for kind in ("imagesTr", "labelsTr"):
        (place / kind).mkdir(parents=True)
    for number in range(3):
        labels = np.zeros((12, 10, 8), dtype=np.uint8)
        labels[2:5, 2:5, 2:5], labels[7:9, 6:9, 3 + number : 5 + number] = 1, 2
        scan = (50 * labels + generator.normal(0, 5, labels.shape)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(scan, affine), place / "imagesTr" / f"made_{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(labels, affine), place / "labelsTr" / f"made_{number}.nii.gz")
    rewrite(place, **index())
    return place


def index(**changes):
    cases = [{"image": f"./imagesTr/made_{n}.nii.gz", "label": f"./labelsTr/made_{n}.nii.gz"} for n in range(3)]
    labels = {"0": "background", "1": "Anterior", "2": "Posterior"}
    whole = {"name": "Made", "modality": {"0": "MRI"}, "labels": labels, "training": cases}
    return {**whole, **changes}


def rewrite(place, **content):
    (place / "dataset.json").write_text(json.dumps(content))


def case(image="imagesTr/made_0.nii.gz", label="labelsTr/made_0.nii.gz"):
    return [{"image": image, "label": label}]


# The registry


def test_there_are_51_tasks_of_four_kinds():
    kinds = ("segmentation", "classification", "registration", "vision-language")
    assert [len(benchmark.tasks(kind)) for kind in kinds] == [44, 2, 2, 3]
    assert len({task.name for task in benchmark.tasks()}) == len(benchmark.tasks()) == 51


def test_btcv_has_the_released_settings():
    task = benchmark.task("BTCV")
    assert (task.classes, task.window, task.spacing, task.roi) == (14, (-175.0, 250.0), (1.5, 1.5, 1.5), (96, 96, 96))
    assert (task.learning_rate, task.weight_decay, task.epochs, task.warmup_epochs) == (3e-4, 1e-5, 1000, 20)
    assert (task.patches, task.positive_share, task.validation_subjects) == (4, 0.9, 6)


def test_every_released_monai_segmentation_has_all_settings():
    released = [task for task in benchmark.tasks("segmentation") if task.network == "SwinUNETR"]
    assert len(released) == 42
    for task in released:
        assert all(getattr(task, name) is not None for name in (*SETTINGS, "classes", "in_channels", "overlap")), task
        assert (task.window is not None) == (task.normalisation == "window"), task


def test_what_was_not_found_is_null():
    task = benchmark.task("VerSe20")
    assert task.network == "nnU-Net" and all(getattr(task, name) is None for name in ("window", "roi", "classes"))


def test_every_figure_says_where_it_was_found():
    figures = [figure for task in benchmark.tasks() for figure in task.reported]
    assert len(figures) > 30 and all(figure.source and figure.value > 0 for figure in figures)


def test_a_figure_that_was_only_remembered_is_not_printed():
    values = {figure.value for name in ("BTCV", "CC-CCII") for figure in benchmark.task(name).reported}
    assert 86.64 in values and not values & {83.85, 90.83}


@pytest.mark.parametrize(
    ("asked", "name"),
    [("btcv", "BTCV"), ("3d ircadb", "3D-IRCADb"), ("Hip", "MSD04-Hippocampus"), ("Flare22", "FLARE22")],
)
def test_a_task_is_found_by_name_or_folder_however_it_is_written(asked, name):
    assert benchmark.task(asked).name == name


@pytest.mark.parametrize(
    ("asked", "near"), [("BTVC", "BTCV"), ("hippocampus", "MSD04-Hippocampus"), ("Amos2", "AMOS22")]
)
def test_an_unknown_task_is_refused_with_near_names(asked, near):
    with pytest.raises(ValueError, match=f"{asked!r} is none of the 51 tasks. Near: .*{near}"):
        benchmark.task(asked)


def test_a_name_like_none_is_refused_with_the_list():
    with pytest.raises(ValueError, match=r"benchmark\.tasks\(\) lists them all"):
        benchmark.task("???")


def test_the_table_has_a_row_of_texts_for_each_task():
    table = benchmark.tasks_table()
    assert len(table) == 51 and len({tuple(row) for row in table}) == 1
    assert all(isinstance(text, str) and "None" not in text for row in table for text in row.values())
    [row] = [row for row in table if row["task"] == "BTCV"]
    assert (row["window, HU"], row["patch"], row["here"]) == ("-175 to 250", "96 x 96 x 96", "with data in MSD layout")
    assert (row["learning rate"], row["schedule"]) == ("0.0003", "warm-up, cosine") and "synapse.org" in row["data"]


def test_the_details_of_a_task_tell_every_figure_with_its_source_and_leave_out_what_is_not_known():
    details = benchmark.task("BTCV").details()
    assert "VoCo 86.64 (Dice, %), from: README of its folder" in details["reported"]
    assert details["reported"].count("from:") == len(benchmark.task("BTCV").reported)
    assert (details["weight decay"], details["warm-up epochs"], details["mixed precision"]) == ("1e-05", "20", "yes")
    assert "104 structures" in benchmark.task("TotalSegmentator").details()["note"]
    assert benchmark.task("TotalSegmentator").details()["mixed precision"] == "no"
    assert not {"patch", "window, HU", "classes", "reported"} & set(benchmark.task("VerSe20").details())


def test_every_task_says_how_to_get_its_data():
    for task in benchmark.tasks():
        text = task.data or ""
        assert "DecathlonDataset" in text if task.name.startswith("MSD") else text.startswith("http"), task.name


def test_the_module_of_the_registry_is_reached_beside_its_functions():
    assert registry.tasks is benchmark.tasks and registry.BenchmarkTask is benchmark.BenchmarkTask


# Settings


def test_the_published_settings_need_no_data():
    found = benchmark.task("BTCV").config()
    assert found.volume == VolumeConfig("ct-abdomen", (1.5, 1.5, 1.5), foreground=0.0)
    assert (found.patch_size, found.foreground_share, found.overlap) == ((96, 96, 96), 0.9, 0.75)
    assert (found.classes, found.organs, found.epochs, found.warmup_epochs) == (14, None, 1000, 20)


def test_epochs_are_counted_in_the_scans_that_train():
    found = benchmark.task("BTCV").config()
    recipe = found.recipe(24)
    assert (recipe.steps, recipe.warmup_steps, recipe.batch_size) == (24_000, 480, 4)
    assert (recipe.learning_rate, recipe.weight_decay, recipe.precision) == (3e-4, 1e-5, "auto")
    # Two scans a step: five scans take three steps.
    assert replace(found, scans_a_step=2).recipe(5).steps == 3000
    with pytest.raises(ValueError, match="scans must be at least 1, got 0"):
        found.recipe(0)


def test_a_task_that_was_trained_in_single_precision_is_so_here():
    assert benchmark.task("MM-WHS").config().recipe(10).precision == "fp32"


def test_a_window_without_a_name_is_prepared_as_numbers():
    assert benchmark.task("TotalSegmentator").config().volume.intensity == (-1000.0, 1000.0)
    assert benchmark.task("Covid-19-20").config().volume.intensity == "ct-chest"


@pytest.mark.parametrize("task", USABLE, ids=lambda task: task.name)
def test_the_patches_of_a_usable_task_fit_its_network(task):
    with torch.device("meta"):
        encoder = build_encoder(EncoderConfig("swin-b"))
    settings = task.config()
    encoder.require_size(settings.patch_size)
    assert settings.recipe(3).steps == 3 * task.epochs


def test_most_tasks_are_usable():
    assert len(USABLE) == 39


def test_a_folder_names_the_structures(folder):
    found = benchmark.task("MSD04-Hippocampus").config(benchmark.msd_folder(folder))
    assert found.volume == VolumeConfig("mr", (1.0, 1.0, 1.0), foreground=0.0)
    assert (found.patch_size, found.organs) == ((64, 64, 64), ("Anterior", "Posterior"))


def small(settings):
    """The settings on patches that a test can learn from."""
    coarse = VolumeConfig("ct-abdomen", spacing=None, foreground=None)
    return replace(settings, volume=coarse, patch_size=(32, 32, 32), overlap=0.0)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    return benchmark.msd_folder(msd_layout(tmp_path_factory.mktemp("msd") / "boxes"))


def boxes_split(boxes, settings):
    return split_subjects(boxes.subjects(settings.volume), validation=1, test=1)


@pytest.mark.parametrize("named_by", ["the folder", "the subjects"])
def test_settings_become_a_task_that_is_learnt_from(boxes, named_by):
    settings = small(benchmark.task("SLIVER07").config(boxes if named_by == "the folder" else None))
    split = boxes_split(boxes, settings)
    task = settings.task(untrained(PretrainConfig.preset("ci"), 0), split, seed=0)
    assert (task.config.organs, task.config.patch_size) == (("box",), (32, 32, 32))
    assert (task.config.foreground_share, task.config.overlap) == (0.5, 0.0)
    assert task.start.volume == settings.volume
    recipe = replace(settings.recipe(len(split.training)), steps=2, warmup_steps=1, device="cpu", progress=False)
    fitted = fit(task, recipe)
    assert recipe.batch_size == 4 and len(fitted.history["total"][1]) >= 1 and 0 <= fitted.score <= 1


def test_subjects_with_other_labels_are_refused(boxes):
    settings = small(benchmark.task("BTCV").config())
    with pytest.raises(ValueError, match=r"BTCV has 14 classes .* got 2 in .*nii.gz"):
        settings.task(untrained(PretrainConfig.preset("ci"), 0), boxes_split(boxes, settings))


def test_data_with_more_channels_are_refused(folder):
    rewrite(folder, **index(modality={"0": "T2", "1": "ADC"}))
    with pytest.raises(ValueError, match="has images of 1 channel, got T2, ADC in"):
        benchmark.task("MSD04-Hippocampus").config(benchmark.msd_folder(folder))


def test_a_window_chooses_how_ct_is_prepared(folder):
    labels = {str(n): f"organ {n}" for n in range(14)}
    rewrite(folder, **index(modality={"0": "CT"}, labels=labels))
    found = benchmark.task("BTCV").config(benchmark.msd_folder(folder))
    assert found.volume == VolumeConfig("ct-abdomen", (1.5, 1.5, 1.5), foreground=0.0)
    assert len(found.organs) == 13 and found.foreground_share == 0.9


def test_data_of_another_task_is_refused(folder):
    with pytest.raises(ValueError, match="BTCV has 14 classes with the background, got 3 in"):
        benchmark.task("BTCV").config(benchmark.msd_folder(folder))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("IXI", "registration is described only; notebook 09_register"),
        ("VerSe20", "released for nnU-Net only"),
        ("BraTS21", "have 4 channels"),
    ],
)
def test_a_task_that_cannot_run_here_says_why(name, why):
    with pytest.raises(ValueError, match=f"{why}.*Tasks that have: BTCV"):
        benchmark.task(name).config()


# Data in MSD layout


def test_a_folder_tells_what_it_holds(folder):
    found = benchmark.msd_folder(folder)
    assert (found.name, found.modality, found.organs) == ("Made", ("MRI",), ("Anterior", "Posterior"))
    assert [case.subject for case in found.training] == ["made_0", "made_1", "made_2"]


def test_its_subjects_are_volumes_with_named_labels(folder):
    subjects = benchmark.msd_folder(folder).subjects()
    volume = subjects[1]
    assert volume.label_names[2] == "Posterior" and torch.equal(volume.labels.unique(), torch.arange(3).to(torch.uint8))
    assert volume.data[0][volume.labels == 2].mean() > 80
    assert subjects.sources == [volume.source for volume in subjects] and len(subjects[1:]) == 2


def test_its_subjects_are_prepared_as_the_task_says(folder):
    found = benchmark.msd_folder(folder)
    volume = found.subjects(VolumeConfig("mr", (1.0, 1.0, 1.0), foreground=None))[0]
    assert volume.shape == (12, 10, 15) and volume.labels.shape == volume.shape


@pytest.mark.skipif(not HIPPOCAMPUS.is_dir(), reason="the shared data is not here")
def test_the_hippocampus_folder_gives_subjects_and_settings():
    found = benchmark.msd_folder(HIPPOCAMPUS)
    settings = benchmark.task("MSD04-Hippocampus").config(found)
    subjects = found.subjects(settings.volume)
    assert len(subjects) == 165 and settings.organs == ("Anterior", "Posterior")
    volume = subjects[0]
    assert set(volume.labels.unique().tolist()) == {0, 1, 2} and 0 <= volume.data.min() < volume.data.max() <= 1
    task = settings.task(untrained(PretrainConfig.preset("ci"), 0), Split(subjects[:2], subjects[2:3]))
    patch = task.sample(1, torch.Generator().manual_seed(0))
    assert patch["image"].shape == (1, 64, 64, 64) and {1, 2} <= set(patch["classes"].unique().tolist())
    [loss] = task.losses({name: tensor[None] for name, tensor in patch.items()}).values()
    assert torch.isfinite(loss)


@pytest.mark.parametrize(
    "name", ["../outside.nii.gz", "imagesTr/../../outside.nii.gz", "ABSOLUTE", "imagesTr/link.nii.gz"]
)
def test_a_path_that_leaves_the_folder_is_refused(folder, name):
    outside = folder.parent / "outside.nii.gz"
    outside.write_bytes((folder / "imagesTr" / "made_0.nii.gz").read_bytes())
    (folder / "imagesTr" / "link.nii.gz").symlink_to(outside)
    rewrite(folder, **index(training=case(image=name.replace("ABSOLUTE", str(outside)))))
    with pytest.raises(ValueError, match="must hold paths inside"):
        benchmark.msd_folder(folder)


def test_a_link_within_the_folder_is_followed(folder):
    (folder / "imagesTr" / "link.nii.gz").symlink_to(folder / "imagesTr" / "made_0.nii.gz")
    rewrite(folder, **index(training=case(image="imagesTr/link.nii.gz")))
    assert benchmark.msd_folder(folder).training[0].subject == "made_0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": []}, "a list of 1 to 100,000 cases"),
        ({"training": {"a": 1}}, "a list of 1 to 100,000 cases"),
        ({"training": ["imagesTr/made_0.nii.gz"]}, "an image and a label for each case"),
        ({"training": [{"image": "imagesTr/made_0.nii.gz"}]}, "an image and a label for each case"),
        ({"training": case() * 2}, "each image once"),
        ({"training": case(image="dataset.json")}, "NIfTI files"),
        ({"training": case(image="a\0.nii")}, "paths of files"),
        ({"modality": ["CT"]}, "numbers and names under 'modality'"),
        ({"labels": {"background": 0, "liver": 1}}, "numbers and names under 'labels'"),
        ({"labels": {"0": "background"}}, "labels with 0 and a structure"),
        ({"labels": {"0": "background", "1": "a", "2": "a"}}, "a name of its own for each label"),
        ({"labels": {"0": "background", "1": "x" * 500}}, "numbers and names under 'labels'"),
    ],
)
def test_a_damaged_index_is_refused_with_what_it_must_hold(folder, changes, message):
    rewrite(folder, **index(**changes))
    with pytest.raises(ValueError, match=message):
        benchmark.msd_folder(folder)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "[" * 100_000, '"text"', "\udcff"])
def test_an_index_that_is_no_table_is_refused(folder, text):
    (folder / "dataset.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match="a table in JSON"):
        benchmark.msd_folder(folder)


def test_an_index_that_is_too_large_is_not_read(folder, monkeypatch):
    monkeypatch.setattr("voco_lite.benchmark.msd._LARGEST_INDEX", 10)
    with pytest.raises(ValueError, match="at most 10 bytes"):
        benchmark.msd_folder(folder)


def test_a_file_that_is_not_there_is_named(folder):
    (folder / "labelsTr" / "made_2.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"names ./labelsTr/made_2.nii.gz, which is not there"):
        benchmark.msd_folder(folder)


def test_a_folder_without_an_index_is_refused_with_the_layout(tmp_path):
    with pytest.raises(FileNotFoundError, match="dataset.json, imagesTr/, labelsTr/"):
        benchmark.msd_folder(tmp_path)
