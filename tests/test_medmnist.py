"""MedMNIST3D: official parts, classes, a failing download; with a stand-in, and with the package where it is installed."""

import hashlib
import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from voco_lite.cli import main
from voco_lite.downstream.classes import class_numbers
from voco_lite.downstream.classifier import load_classifier
from voco_lite.downstream.medmnist3d import MEDMNIST, medmnist_split

PARTS = {"train": 6, "val": 3, "test": 4}
LABEL = {str(number): f"organ {number}" for number in range(3)}
URL, NAMES = "https://somewhere.test/organmnist3d{}.npz", ("organmnist3d", "organmnist3d_64")


class Reader:
    """What `medmnist_split` asks of the package's readers, and what they do (medmnist 3.0.2, `dataset.py`)."""

    downloads = 0
    offered: bytes | None = None

    def __init__(self, split, download=False, root=None, size=None):
        flag = "organmnist3d" + ("" if size in (None, 28) else f"_{size}")
        path = f"{root}/{flag}.npz"
        if download:
            Reader.downloads += 1
            if self.offered is None:
                raise RuntimeError("Automatic download failed!")
            with open(path, "wb") as stream:
                stream.write(self.offered)
        with np.load(path) as found:
            self.imgs, self.labels = found[f"{split}_images"], found[f"{split}_labels"]


def write(path, side):
    """An npz file in the layout of MedMNIST3D, each part of other numbers; returns its MD5."""
    chance, arrays = np.random.default_rng(0), {}
    for part, n in PARTS.items():
        arrays[f"{part}_images"] = chance.integers(256, size=(n, side, side, side), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n, dtype=np.uint8) % 3)[:, None]
    np.savez(path, **arrays)
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture(params=["stand-in", "package"])
def sets(request, tmp_path, monkeypatch):
    """A folder with both sizes of a set, known to a stand-in for the package, or to the package itself."""
    if request.param == "package":
        medmnist = pytest.importorskip("medmnist", reason='the extra "medmnist" is not installed')
    else:
        medmnist = ModuleType("medmnist")
        medmnist.INFO, medmnist.OrganMNIST3D = {}, Reader
        monkeypatch.setitem(sys.modules, "medmnist", medmnist)
        monkeypatch.setattr(Reader, "downloads", 0)
    folder = tmp_path / ".medmnist"
    folder.mkdir()
    info = {"python_class": "OrganMNIST3D", "label": LABEL, "n_samples": PARTS}
    for name, side in zip(NAMES, (28, 64), strict=True):
        end = name.removeprefix("organmnist3d")
        info |= {f"url{end}": URL.format(end), f"MD5{end}": write(folder / f"{name}.npz", side)}
    monkeypatch.setitem(medmnist.INFO, "organmnist3d", info)
    return folder


@pytest.mark.parametrize(("name", "side"), zip(NAMES, (28, 64), strict=True))
def test_the_official_parts_stay_apart_and_whole(sets, name, side):
    split, classes = medmnist_split(name, sets)
    stored = np.load(sets / f"{name}.npz")
    assert classes == tuple(LABEL.values())
    for part, group in zip(PARTS, (split.training, split.validation, split.test), strict=True):
        assert [volume.source for volume in group] == [f"{name} {part} {i}" for i in range(PARTS[part])]
        assert class_numbers(group, "class", classes) == stored[f"{part}_labels"][:, 0].tolist()
        images = torch.from_numpy(stored[f"{part}_images"]).float() / 255
        torch.testing.assert_close(torch.cat([volume.data for volume in group]), images)
        assert all(volume.shape == (side, side, side) and volume.units == "prepared" for volume in group)


def test_classes_are_named_by_number_and_not_by_the_order_of_words(sets):
    many = {str(number): f"class {number}" for number in range(11)}
    sys.modules["medmnist"].INFO["organmnist3d"]["label"] = dict(sorted(many.items()))
    assert medmnist_split("organmnist3d", sets)[1] == tuple(many.values())


@pytest.mark.parametrize("left", [None, b"half a file"])
def test_a_download_that_fails_says_what_to_fetch_by_hand(sets, left):
    file = sets / "organmnist3d_64.npz"
    file.unlink()
    if left is not None:
        file.write_bytes(left)
    said = (
        rf"organmnist3d_64\.npz with MD5 \w{{32}}, got {'none' if left is None else 'another file'}.*save https://.*_64"
    )
    with pytest.raises(FileNotFoundError, match=said):
        medmnist_split("organmnist3d_64", sets)


@pytest.mark.parametrize("left", [None, b"half a file"])
@pytest.mark.parametrize("sets", ["stand-in"], indirect=True)
def test_a_file_that_is_missing_or_damaged_is_downloaded_once(sets, monkeypatch, left):
    file = sets / "organmnist3d.npz"
    monkeypatch.setattr(Reader, "offered", file.read_bytes())
    medmnist_split("organmnist3d", sets)
    assert Reader.downloads == 0, "a file that is there needs no network"
    file.unlink() if left is None else file.write_bytes(left)
    assert len(medmnist_split("organmnist3d", sets)[0].training) == PARTS["train"]
    assert Reader.downloads == 1


@pytest.mark.parametrize("module", [None, ModuleType("medmnist")], ids=["not installed", "without its requirements"])
def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch, module):
    if module is not None:
        module.INFO = {"organmnist3d": {"python_class": "OrganMNIST3D"}}
    monkeypatch.setitem(sys.modules, "medmnist", module)
    with pytest.raises(ValueError, match=r"got none that works\. Install the extra.*\.\[medmnist\]"):
        medmnist_split("organmnist3d", tmp_path)


@pytest.mark.parametrize("name", ["organmnist", "organmnist3d_28", "population"])
def test_another_name_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="one of organmnist3d, .*_64, got"):
        medmnist_split(name, tmp_path)


def test_the_sets_are_those_of_the_package():
    if importlib.util.find_spec("medmnist") is None:
        pytest.skip('the extra "medmnist" is not installed')
    from medmnist import INFO

    known = {name for name in INFO if name.endswith("3d")}
    assert set(MEDMNIST) == known | {f"{name}_64" for name in known}


@pytest.mark.parametrize("sets", ["stand-in"], indirect=True)
def test_a_set_is_classified_from_the_command_line(sets, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    brief = ("--train.steps", "2", "--train.gauge-every", "0", "--train.device", "cpu", "--train.no-progress")
    asked = ("--data", "organmnist3d", "--preset", "ci", "--patch-size", "32", "32", "32")
    code = main(["finetune", "classification", "--train.run-folder", str(tmp_path / "run"), *brief, *asked])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert said.out.count("test accuracy") == said.out.count("test AUROC") == 1
    assert load_classifier(tmp_path / "run").config.classes == tuple(LABEL.values())


def test_only_classification_knows_these_sets(tmp_path, capsys):
    folder = ("--train.run-folder", str(tmp_path))
    for task, said in (("registration", 'must be "population"'), ("segmentation", "There is no folder organmnist3d")):
        assert main(["finetune", task, *folder, "--data", "organmnist3d"]) == 2
        assert said in capsys.readouterr().err
