"""MedMNIST3D: small scans with a class each, fetched and divided by their own package (the extra "medmnist")."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from voco_lite.downstream.classes import volumes_from_arrays
from voco_lite.downstream.split import Split

_SETS = ("organmnist3d", "nodulemnist3d", "adrenalmnist3d", "fracturemnist3d", "vesselmnist3d", "synapsemnist3d")
MEDMNIST = (*_SETS, *(f"{name}_64" for name in _SETS))
_PARTS = ("train", "val", "test")
_FOLDER = "~/.medmnist"  # the package's own


def medmnist_split(name: str, folder: str | Path = _FOLDER) -> tuple[Split, tuple[str, ...]]:
    """The official training, validation and test scans of a set, and the names of its classes.

    The parts are the authors' own and are never mixed. Scans are 28 voxels wide, or 64 in the sets whose names end so;
    their intensities are bytes that the authors made, not the window of a pre-training here. The data is CC BY 4.0:
    Yang et al., "MedMNIST v2", Scientific Data 2023. Learn with
    `ClassificationConfig(attribute="class", classes=classes)`.

    Args:
        name: One of `MEDMNIST`, such as "organmnist3d" or "organmnist3d_64".
        folder: Where its npz file lies, or is put.

    Raises:
        ValueError: Another name, or the package is not installed.
        FileNotFoundError: The file is not there, or damaged, and could not be downloaded.
    """
    if name not in MEDMNIST:
        raise ValueError(f"name must be one of {', '.join(MEDMNIST)}, got {name!r}. Choose one of them.")
    flag, _, side = name.partition("_")
    reader, info = _reader(flag)
    place = Path(folder).expanduser()
    place.mkdir(parents=True, exist_ok=True)
    asked = {"root": str(place), "size": int(side or 28)}
    _fetch(reader, info, place / f"{name}.npz", asked)
    parts = [reader(part, **asked) for part in _PARTS]
    classes = tuple(info["label"][str(number)] for number in range(len(info["label"])))
    groups = [
        volumes_from_arrays(found.imgs, found.labels, classes, f"{name} {part}")
        for part, found in zip(_PARTS, parts, strict=True)
    ]
    return Split(*groups), classes


def _reader(flag: str) -> tuple[Any, dict[str, Any]]:
    """The package's class for a set, and what the package knows about it.

    Raises:
        ValueError: It is not installed, or lacks what it needs.
    """
    try:
        import medmnist

        info = medmnist.INFO[flag]
        # Where one of its own requirements is missing, the package prints so and has no readers.
        return getattr(medmnist, info["python_class"]), info
    except (ImportError, AttributeError):
        raise ValueError(
            f"{flag} is read by the package medmnist, got none that works. "
            'Install the extra: pip install --constraint constraints.txt ".[medmnist]".'
        ) from None


def _fetch(reader: Any, info: dict[str, Any], file: Path, asked: dict[str, Any]) -> None:
    """Have the package download a file that is not there, or is not what it should be.

    It downloads by torchvision, whose builds for CUDA cannot be loaded beside a CPU build of torch: a file that was
    fetched by hand must do without.

    Raises:
        FileNotFoundError: The download failed.
    """
    _, _, side = file.stem.partition("_")
    url, md5 = (info[f"{key}_{side}" if side else key] for key in ("url", "MD5"))
    if file.is_file() and _md5(file) == md5:
        return
    try:
        reader("train", download=True, **asked)
    except RuntimeError:
        got = "another file" if file.is_file() else "none"
        raise FileNotFoundError(
            f"There must be {file} with MD5 {md5}, got {got}, and the package medmnist could not download it. "
            f"Try again with a network, or save {url} there by hand."
        ) from None


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
