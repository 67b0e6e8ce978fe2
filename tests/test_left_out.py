"""A broken scan of a folder is left out of training, said once and summed up; asked for directly, it is an error."""

import json
import subprocess
import warnings
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from process_runs import launcher
from tiny_run import tiny_config, tiny_volumes, train, weights
from voco_lite.checkpoints import load_checkpoint
from voco_lite.cli import main
from voco_lite.config import VolumeConfig
from voco_lite.dataset import VoCoDataset
from voco_lite.train import History
from voco_lite.train.leaving_out import LeftOut
from voco_lite.volumes import VolumeFolder

CONFIG = tiny_config(steps=6)
SCANS = VolumeConfig("none", spacing=None, foreground=None, size=None)
pytestmark = pytest.mark.filterwarnings("ignore:.*left out.*:UserWarning")


def folder_of(place, n=6, broken=(2,)):
    """A folder of scans as files, some of them cut off."""
    for number, volume in enumerate(tiny_volumes(n)):
        path = place / f"{number}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(volume.data[0].numpy(), np.eye(4)), path)
        if number in broken:
            path.write_bytes(path.read_bytes()[:2000])
    return VolumeFolder(place, SCANS)


def shown(samples):
    """Numbers of the scans that samples show."""
    return [int(sample.source.split(".nii.gz")[0].rsplit("/", 1)[1]) for sample in samples]


def run(volumes, config=CONFIG, **more):
    return train(replace(config, volume=SCANS), volumes, **more)


@pytest.fixture
def folder(tmp_path):
    return folder_of(tmp_path)


@pytest.fixture
def dataset(folder):
    return VoCoDataset(folder, CONFIG.crops)


# The data set


def test_a_broken_scan_asked_for_directly_is_an_error(folder, dataset):
    with pytest.raises(ValueError, match=r"2\.nii\.gz"):
        folder[2]
    with pytest.raises(ValueError, match=r"2\.nii\.gz"):
        dataset[2]


def test_the_next_scan_takes_the_place_of_a_broken_one(dataset):
    assert shown(dataset.__getitems__([2, 5])) == [3, 5]


def test_a_scan_never_meets_itself_in_a_batch(dataset):
    assert shown(dataset.__getitems__([2, 3, 4])) == [5, 3, 4]


def test_places_are_taken_round_the_end(tmp_path):
    dataset = VoCoDataset(folder_of(tmp_path, broken=(5,)), CONFIG.crops)
    assert shown(dataset.__getitems__([5, 0])) == [1, 0]


def test_who_takes_a_place_does_not_depend_on_what_is_known_already(dataset):
    first = shown(dataset.__getitems__([2, 1]))
    assert dataset.left_out and shown(dataset.__getitems__([2, 1])) == first


def test_a_first_scan_that_is_broken_does_not_matter(tmp_path):
    dataset = VoCoDataset(folder_of(tmp_path, broken=(0, 1)), CONFIG.crops)
    assert len(dataset.left_out) == 2 and shown(dataset.__getitems__([2])) == [2]


def test_a_scan_that_vanished_is_left_out(folder, dataset):
    folder.paths[4].unlink()
    assert shown(dataset.__getitems__([4])) == [5]


def test_the_reason_travels_with_the_batch_once(folder, dataset):
    batches = [dataset.collate(dataset.__getitems__([2, 0])) for _ in range(2)]
    assert list(batches[0].left_out) == [folder.sources[2]] and not batches[1].left_out
    assert "2.nii.gz" in batches[0].left_out[folder.sources[2]]


def test_loader_processes_report_what_they_leave_out(folder, dataset):
    loader = DataLoader(dataset, batch_sampler=[[0, 1], [2, 3]], collate_fn=dataset.collate, num_workers=1)
    assert [list(samples.left_out) for samples in loader] == [[], [folder.sources[2]]]


def test_without_another_scan_the_error_names_the_broken_one(dataset):
    with pytest.raises(ValueError, match=r"another one in its place, got none.*2\.nii\.gz"):
        dataset.__getitems__([0, 1, 2, 3, 4, 5])


def test_a_folder_of_broken_scans_is_given_up_after_a_few(tmp_path):
    for number in range(40):
        (tmp_path / f"{number:02d}.nii").touch()
    with pytest.raises(ValueError, match=r"of 40 volumes, 16 were tried.*00\.nii"):
        VoCoDataset(VolumeFolder(tmp_path, SCANS), CONFIG.crops)


# Training


def test_training_goes_on_without_the_broken_scan_and_the_history_says_why(folder):
    _, history = run(folder)
    assert history.steps == 6 and list(history.left_out) == [folder.sources[2]]


def test_each_broken_scan_is_warned_about_once_and_all_at_the_end(tmp_path):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        run(folder_of(tmp_path, broken=(1, 4)))
    texts = [str(one.message) for one in said if "left out" in str(one.message)]
    assert [("1.nii.gz" in text, "4.nii.gz" in text) for text in texts[:2]].count((True, True)) == 0
    assert len(texts) == 3 and texts[-1].startswith("2 volume(s) could not be used and were left out")


def test_what_two_loader_processes_met_is_said_once():
    left_out = LeftOut(accelerator=None, history=History())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        for _ in range(2):
            left_out.add({"a.nii": "a.nii is cut off."})
    assert len(said) == 1 and left_out.history.left_out == {"a.nii": "a.nii is cut off."}


def test_a_run_folder_lists_what_was_left_out(folder, tmp_path):
    run(folder, tiny_config(steps=6, run_folder=str(tmp_path / "run")))
    listed = json.loads((tmp_path / "run" / "left_out.json").read_text())
    assert list(listed) == [folder.sources[2]] and History.load(tmp_path / "run").left_out == listed


def test_a_whole_folder_leaves_nothing_out(tmp_path):
    (tmp_path / "scans").mkdir()
    config = tiny_config(steps=2, run_folder=str(tmp_path / "run"))
    _, history = run(folder_of(tmp_path / "scans", broken=()), config)
    assert history.left_out == {} and not (tmp_path / "run" / "left_out.json").exists()


def test_a_damaged_list_is_named(folder, tmp_path):
    run(folder, tiny_config(steps=2, run_folder=str(tmp_path / "run")))
    (tmp_path / "run" / "left_out.json").write_text("{")
    with pytest.raises(ValueError, match=r"left_out\.json should list"):
        History.load(tmp_path / "run")


def test_workers_train_on_the_same_volumes_as_the_main_process(folder):
    (one, _), (other, history) = run(folder), run(folder, tiny_config(steps=6, workers=2))
    assert all((a == b).all() for a, b in zip(weights(one).values(), weights(other).values(), strict=True))
    assert list(history.left_out) == [folder.sources[2]]


def test_an_interrupted_run_with_a_broken_scan_is_resumed_exactly(folder, tmp_path):
    class Stop(Exception):
        pass

    def stop(record, _):
        if record["step"] == 4:
            raise Stop

    changes = {"steps": 6, "checkpoint_every": 2}
    whole, _ = run(folder, tiny_config(**changes))
    config = tiny_config(**changes, run_folder=str(tmp_path / "run"))
    with pytest.raises(Stop):
        run(folder, config, callbacks=[stop])
    resumed, history = run(folder, config)
    assert all((a == b).all() for a, b in zip(weights(whole).values(), weights(resumed).values(), strict=True))
    assert list(history.left_out) == [folder.sources[2]]


@pytest.mark.slow
def test_two_processes_leave_out_what_one_process_leaves_out(folder, tmp_path):
    options = "--preset ci --crops.cells 2 2 1 --volume.size 32 32 16 --objective.projector-dim 16 --train.steps 6 "
    more = "--train.batch-size 2 --train.device cpu --train.precision fp32 --train.no-progress --held-out 0"
    data = ["--encoder.norm", "group", "--volume.intensity", "none", "--data", str(folder.paths[0].parent)]
    found = {}
    for processes in (1, 2):
        command, environment = launcher(processes)
        place = ["--train.run-folder", str(tmp_path / f"{processes}"), "--train.accumulation", str(2 // processes)]
        arguments = ["pretrain", *options.split(), *more.split(), *data, *place]
        done = subprocess.run(
            [*command, "-m", "voco_lite", *arguments], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.count("left out 1: ") == done.stdout.count("Run folder: ") == 1
        found[processes] = load_checkpoint(tmp_path / f"{processes}" / "final.pt")
        assert list(History.load(tmp_path / f"{processes}").left_out) == [folder.sources[2]]
    assert found[2]["provenance"]["processes"] == 2
    for name, value in found[1]["model"].items():
        torch.testing.assert_close(found[2]["model"][name], value, rtol=0, atol=1e-5)


def test_a_broken_held_out_scan_is_left_out(folder):
    _, history = run(tiny_volumes(), tiny_config(steps=2), held_out=folder)
    assert list(history.left_out) == [folder.sources[2]] and history.last_held_out is not None


def test_held_out_scans_that_are_all_broken_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one, got none"):
        run(tiny_volumes(), tiny_config(steps=2), held_out=folder_of(tmp_path, n=2, broken=(0, 1)))


# The command


def test_the_command_ends_with_a_summary(folder, tmp_path, capsys):
    options = "--preset ci --crops.cells 2 2 1 --volume.size 32 32 16 --objective.projector-dim 16 --train.steps 6 "
    more = "--train.batch-size 2 --train.device cpu --train.precision fp32 --train.no-progress --held-out 0"
    place = folder.paths[0].parent
    run_folder = ["--train.run-folder", str(tmp_path / "run")]
    assert main(["pretrain", *options.split(), *more.split(), "--data", str(place), *run_folder]) == 0
    assert "left out 1: " in (shown := capsys.readouterr().out) and "2.nii.gz" in shown
