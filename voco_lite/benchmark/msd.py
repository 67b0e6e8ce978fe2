"""Data in the layout of the Medical Segmentation Decathlon: dataset.json, imagesTr, labelsTr.

Such folders come from strangers. Nothing that dataset.json says is believed: every path must stay inside the folder, and
be there, before a voxel is read; the scans themselves are judged by `voco_lite.volumes`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from voco_lite.config import VolumeConfig
from voco_lite.volumes import Volume, load_volume
from voco_lite.volumes.scan import NIFTI_ENDINGS

INDEX = "dataset.json"
_LARGEST_INDEX = 16 * 2**20  # bytes
_MOST_CASES = 100_000
_MOST_LABELS = 1000
_LONGEST_NAME = 200


@dataclass(frozen=True)
class MsdCase:
    """One labelled subject: its name and its two files."""

    subject: str
    image: Path
    label: Path


@dataclass(frozen=True)
class MsdFolder:
    """What an MSD folder holds; no scan has been read.

    Attributes:
        path: The folder.
        name: Of the data set, as it calls itself.
        modality: Of each channel, such as ("CT",) or ("FLAIR", "T1w", "t1gd", "T2w").
        label_names: Name of each label, the background (0) included.
        training: The labelled subjects, in the order of the file.
        licence: As it says itself; empty when it does not.
    """

    path: Path
    name: str
    modality: tuple[str, ...]
    label_names: dict[int, str]
    training: tuple[MsdCase, ...]
    licence: str = ""

    @property
    def organs(self) -> tuple[str, ...]:
        """Names of the labels without the background, by number."""
        return tuple(name for number, name in sorted(self.label_names.items()) if number)

    def subjects(self, config: VolumeConfig | None = None) -> MsdSubjects:
        """The labelled subjects as volumes, each read and prepared when it is asked for."""
        return MsdSubjects(self, self.training, config)


class MsdSubjects(Sequence[Volume]):
    """Labelled volumes of an MSD folder, each read when it is asked for.

    Attributes:
        sources: The `source` of every volume, known without reading it.
    """

    def __init__(self, folder: MsdFolder, cases: Sequence[MsdCase], config: VolumeConfig | None) -> None:
        self.folder, self.cases, self.config = folder, tuple(cases), config
        self.sources = [str(case.image) for case in self.cases]

    def __len__(self) -> int:
        return len(self.cases)

    @overload
    def __getitem__(self, index: int) -> Volume: ...

    @overload
    def __getitem__(self, index: slice) -> MsdSubjects: ...

    def __getitem__(self, index: int | slice) -> Volume | MsdSubjects:
        """A volume, read now; or the part that a slice names, unread."""
        if isinstance(index, slice):
            return MsdSubjects(self.folder, self.cases[index], self.config)
        case = self.cases[index]
        return load_volume(case.image, self.config, labels=case.label, label_names=self.folder.label_names)


def msd_folder(path: str | Path) -> MsdFolder:
    """Read what an MSD folder holds.

    Raises:
        FileNotFoundError: There is no such folder, no dataset.json in it, or a file that it names is not there.
        ValueError: dataset.json is damaged or too large, or names something outside the folder.
    """
    folder = Path(path).expanduser()
    index = folder / INDEX
    if not index.is_file():
        raise FileNotFoundError(
            f"There is no {index}. Give a folder in the layout of the Medical Segmentation Decathlon: "
            f"{INDEX}, imagesTr/, labelsTr/."
        )
    if index.stat().st_size > _LARGEST_INDEX:
        raise ValueError(f"{index} must be at most {_LARGEST_INDEX:,} bytes, got more. Check where it comes from.")
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{index} must be a table in JSON, got: {str(error)[:100]}. Download it again.") from error
    _require(isinstance(content, dict), index, "a table in JSON", content)
    entries = content.get("training")
    fits = isinstance(entries, list) and 1 <= len(entries) <= _MOST_CASES
    _require(fits, index, f"a list of 1 to {_MOST_CASES:,} cases under 'training'", entries)
    cases = tuple(_case(entry, folder, index) for entry in entries)
    repeated = len(cases) - len({case.image for case in cases})
    _require(not repeated, index, "each image once", f"{repeated} images that are named again")
    modality = _numbered(content.get("modality"), "modality", index)
    labels = _numbered(content.get("labels"), "labels", index)
    _require(labels.get(0) is not None and len(labels) > 1, index, "labels with 0 and a structure", labels)
    _require(len(set(labels.values())) == len(labels), index, "a name of its own for each label", labels)
    name, licence = (str(content.get(key) or "")[:_LONGEST_NAME] for key in ("name", "licence"))
    return MsdFolder(folder, name or folder.name, tuple(modality[k] for k in sorted(modality)), labels, cases, licence)


def _case(entry: Any, folder: Path, index: Path) -> MsdCase:
    fits = isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("image", "label"))
    _require(fits, index, "an image and a label for each case", entry)
    image, label = (_inside(entry[key], folder, index) for key in ("image", "label"))
    return MsdCase(image.name.removesuffix(".gz").removesuffix(".nii"), image, label)


def _inside(name: str, folder: Path, index: Path) -> Path:
    """The file that a path of dataset.json names, links followed."""
    _require("\0" not in name and len(name) < 4096, index, "paths of files", name)
    named = folder / name
    # A link may point elsewhere: where the file really lies counts.
    real = named.resolve()
    outside = Path(name).is_absolute() or not real.is_relative_to(folder.resolve())
    _require(not outside, index, f"paths inside {folder}", name)
    _require(name.lower().endswith(NIFTI_ENDINGS), index, "NIfTI files", name)
    if not real.is_file():
        raise FileNotFoundError(f"{index} names {name}, which is not there. Unpack the archive again, whole.")
    return folder / real.relative_to(folder.resolve())


def _numbered(table: Any, key: str, index: Path) -> dict[int, str]:
    """A table from numbers, written as text, to names."""
    fits = (
        isinstance(table, dict)
        and 1 <= len(table) <= _MOST_LABELS
        and all(number.isdecimal() and len(number) < 6 for number in table)
        and all(isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME for name in table.values())
    )
    _require(fits, index, f'numbers and names under {key!r}, such as {{"0": "background", "1": "liver"}}', table)
    return {int(number): name for number, name in table.items()}


def _require(condition: bool, index: Path, expected: str, got: Any) -> None:
    if not condition:
        raise ValueError(f"{index} must hold {expected}, got {str(got)[:200]}. Correct it, or download it again.")
