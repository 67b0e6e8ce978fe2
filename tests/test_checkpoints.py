"""Checkpoints: whole or not at all on disk, nothing of a stranger's code, and a model that comes back as it was."""

import pickle
import shutil

import pytest
import torch

from voco_lite import checkpoints
from voco_lite.checkpoints import load_checkpoint, load_model, load_weights, newest, prune, save_checkpoint, step_path
from voco_lite.config import PretrainConfig
from voco_lite.model import VoCo

CONFIG = PretrainConfig.preset("ci", projector_dim=8, seed=3)


@pytest.fixture(scope="module")
def model():
    return VoCo(CONFIG)


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    """A checkpoint; tests that change it take a copy."""
    return save_checkpoint(tmp_path_factory.mktemp("written") / "model.pt", model, step=7, provenance={"data": "none"})


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copy(written, tmp_path / "model.pt")


# Round trip


def test_a_model_comes_back_with_every_weight(model, written):
    back, own = load_model(written).state_dict(), model.state_dict()
    assert list(back) == list(own)
    for name, tensor in own.items():
        torch.testing.assert_close(back[name], tensor, rtol=0, atol=0)


def test_a_model_comes_back_with_its_configuration(written):
    assert load_model(written).config == CONFIG


def test_a_model_comes_back_in_evaluation_mode(written):
    assert not load_model(written).training


def test_a_checkpoint_says_step_versions_and_provenance(written):
    entries = load_checkpoint(written)
    assert (entries["step"], entries["provenance"]) == (7, {"data": "none"})
    assert entries["versions"]["torch"] == torch.__version__


def test_further_state_comes_back(model, tmp_path):
    save_checkpoint(tmp_path / "a.pt", model, optimizer={"step": torch.tensor(3.0)}, scaler=None)
    entries = load_checkpoint(tmp_path / "a.pt")
    assert entries["optimizer"]["step"] == 3 and entries["scaler"] is None


def test_a_run_folder_gives_its_final_model(written, tmp_path):
    shutil.copy(written, tmp_path / "final.pt")
    assert load_model(tmp_path).config == CONFIG


# Writing


def test_a_crash_while_writing_leaves_the_old_file(model, copy, monkeypatch):
    before = copy.read_bytes()

    def crash(entries, file):
        file.write(b"half of it")
        raise OSError("disk full")

    monkeypatch.setattr(checkpoints.torch, "save", crash)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(copy, model)
    assert copy.read_bytes() == before


def test_a_crash_while_writing_leaves_nothing_else_behind(model, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints.torch, "save", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tmp_path / "model.pt", model)
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_flushed_to_the_disk_before_it_gets_its_name(model, tmp_path, monkeypatch):
    order = []
    fsync, replace = checkpoints.os.fsync, checkpoints.os.replace
    monkeypatch.setattr(checkpoints.os, "fsync", lambda handle: (order.append("flush"), fsync(handle)))
    monkeypatch.setattr(checkpoints.os, "replace", lambda a, b: (order.append("rename"), replace(a, b)))
    save_checkpoint(tmp_path / "model.pt", model)
    assert order[:2] == ["flush", "rename"]


def test_a_text_is_replaced_whole(tmp_path):
    (tmp_path / "a.json").write_text("old")
    checkpoints.write_text(tmp_path / "a.json", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"] and (tmp_path / "a.json").read_text() == "new"


# Reading what is no checkpoint


def test_an_absent_file_says_what_to_give(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint.*Give a .pt file"):
        load_checkpoint(tmp_path / "absent.pt")


def test_a_folder_without_checkpoints_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds neither final.pt nor checkpoints"):
        load_model(tmp_path)


@pytest.mark.parametrize("kept", [0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_explained(copy, kept):
    content = copy.read_bytes()
    copy.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match="truncated, damaged"):
        load_checkpoint(copy)


def test_a_text_file_is_explained(tmp_path):
    (tmp_path / "a.pt").write_text("not a checkpoint")
    with pytest.raises(ValueError, match="cannot be read"):
        load_checkpoint(tmp_path / "a.pt")


class Trap:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


@pytest.mark.parametrize("save", [torch.save, lambda entries, path: path.write_bytes(pickle.dumps(entries))])
def test_objects_in_a_file_are_refused_and_none_of_their_code_runs(tmp_path, save):
    sprung = tmp_path / "sprung"
    save({"format": checkpoints.FORMAT, "model": Trap(sprung)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="holds other objects"):
        load_checkpoint(tmp_path / "a.pt")
    assert not sprung.exists()


@pytest.mark.parametrize("entries", [{"state_dict": {}}, [1, 2], torch.zeros(3)])
def test_weights_of_another_project_are_refused(tmp_path, entries):
    torch.save(entries, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="no checkpoint of a run here"):
        load_checkpoint(tmp_path / "a.pt")


def changed(path, **entries):
    torch.save(load_checkpoint(path) | entries, path)
    return path


def test_a_checkpoint_of_a_later_format_asks_for_a_later_version(copy):
    with pytest.raises(ValueError, match="of format 1 or older, got format 99"):
        load_checkpoint(changed(copy, format_version=99))


def test_a_checkpoint_without_a_model_names_what_is_missing(copy):
    entries = load_checkpoint(copy)
    del entries["model"]
    torch.save(entries, copy)
    with pytest.raises(ValueError, match=r"without \['model'\]"):
        load_checkpoint(copy)


def test_an_unknown_field_of_the_configuration_is_named(copy):
    config = CONFIG.to_dict()
    config["train"]["speed"] = 1
    with pytest.raises(ValueError, match="config.train has unknown fields.*speed"):
        load_model(changed(copy, config=config))


def test_weights_that_do_not_fit_change_nothing(model, written):
    weights = dict(load_checkpoint(written)["model"])
    name = next(iter(weights))
    other = VoCo(CONFIG.changed(seed=4))
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(ValueError, match="other shapes"):
        load_weights(other, weights | {name: torch.zeros(1, 2, 3)}, written)
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize(("change", "said"), [("drop", "missing"), ("add", "unknown")])
def test_weights_with_other_names_are_refused(model, written, change, said):
    weights = dict(load_checkpoint(written)["model"])
    name = next(iter(weights))
    weights["another"] = weights.pop(name) if change == "drop" else torch.zeros(1)
    with pytest.raises(ValueError, match=rf"{said} \['{name if change == 'drop' else 'another'}'\]"):
        load_weights(model, weights, written)


# Run folders


@pytest.fixture
def run_folder(tmp_path):
    for step in (2, 10, 9, 100_000_000):
        path = step_path(tmp_path, step)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def test_the_newest_checkpoint_is_that_of_the_highest_step(run_folder):
    assert newest(run_folder) == step_path(run_folder, 100_000_000)


def test_a_final_model_is_newer_than_every_step(run_folder):
    (run_folder / "final.pt").write_bytes(b"")
    assert newest(run_folder) == run_folder / "final.pt"


def test_a_folder_without_checkpoints_has_no_newest(tmp_path):
    assert newest(tmp_path) is None


def test_pruning_keeps_the_newest_two(run_folder):
    prune(run_folder, keep=2)
    left = {path.name for path in (run_folder / "checkpoints").iterdir()}
    assert left == {"step-00000010.pt", "step-100000000.pt"}


def test_pruning_removes_what_an_interrupted_write_left(run_folder):
    (run_folder / "checkpoints" / ".step-00000011.pt.123.tmp").write_bytes(b"half")
    prune(run_folder, keep=4)
    assert not list((run_folder / "checkpoints").glob(".*"))


def test_pruning_leaves_files_of_other_names(run_folder):
    (run_folder / "checkpoints" / "mine.pt").write_bytes(b"")
    prune(run_folder, keep=0)
    assert [path.name for path in (run_folder / "checkpoints").iterdir()] == ["mine.pt"]
