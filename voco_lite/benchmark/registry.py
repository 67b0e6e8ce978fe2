"""The 51 downstream tasks of VoCo's published benchmark, as data: `tasks.json`.

Names, networks, losses, windows, spacings and schedules were read in the released code (Large-Scale-Medical, commit
1ad538b, `Downstream/`), figures where each says so. What was not found there is null: nothing is filled in. The figures
are of offline validation splits, often small, with the best epoch chosen on the same split, and of one seed. Addresses of
data are those that public documentation of the field gives; they were not opened.
"""

from __future__ import annotations

import difflib
import functools
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from voco_lite.benchmark.task_config import TaskConfig, structures
from voco_lite.config import Intensity, Size, Spacing, VolumeConfig
from voco_lite.volumes import WINDOWS

if TYPE_CHECKING:
    from voco_lite.benchmark.msd import MsdFolder

Kind = Literal["segmentation", "classification", "registration", "vision-language"]
_TABLE = Path(__file__).with_name("tasks.json")
_NOTEBOOKS = {"classification": "08_classify", "registration": "09_register", "vision-language": "10_align"}
_COLUMNS = ("task", "kind", "modality", "network", "classes", "spacing, mm", "window, HU", "patch", "learning rate",
            "epochs", "schedule", "reported", "data", "here")  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A published number: whose, its value, what it measures where that was said, and where it was found."""

    method: str
    value: float
    metric: str | None
    source: str

    def __str__(self) -> str:
        return f"{self.method} {self.value:g}{f' ({self.metric})' if self.metric else ''}, from: {self.source}"


@dataclass(frozen=True)
class BenchmarkTask:
    """One task of the benchmark; None: not found in the released code.

    Attributes:
        name: What `task` calls it.
        folder: In the released code, `Downstream/monai/`.
        kind: What is learnt.
        modality: "CT", "MRI" or "PET-CT".
        network, loss: As released.
        in_channels, classes: Channels in and out, the background counted.
        spacing: In mm along (x, y, z).
        normalisation: "window" (mapped to [0, 1]) or "z-score" (of voxels that are not 0, by channel).
        window: In HU.
        roi: Voxels of a patch.
        patches: From each volume of a step.
        positive_share: Of patches with a structure's voxel in the middle.
        optimizer, learning_rate, weight_decay, batch_size, epochs, warmup_epochs, schedule: Of the training.
        overlap: Of neighbouring windows in validation.
        mixed_precision: Whether it was trained in half precision.
        validation_subjects: How many the figures rest on.
        reported: Published figures.
        data: How to get the data; many sites want a registration, or a licence to be agreed to.
        note: What else matters.
    """

    name: str
    folder: str | None
    kind: Kind
    modality: str | None
    network: str | None
    loss: str | None
    in_channels: int | None
    classes: int | None
    spacing: Spacing | None
    normalisation: Literal["window", "z-score"] | None
    window: tuple[float, float] | None
    roi: Size | None
    patches: int | None
    positive_share: float | None
    optimizer: str | None
    learning_rate: float | None
    weight_decay: float | None
    batch_size: int | None
    epochs: int | None
    warmup_epochs: int | None
    schedule: str | None
    mixed_precision: bool | None
    overlap: float | None
    validation_subjects: int | None
    reported: tuple[Figure, ...]
    data: str | None
    note: str | None

    @property
    def obstacle(self) -> str | None:
        """Why it cannot be run here even with its data; None: it can."""
        if self.kind != "segmentation":
            return f"{self.kind} is described only; notebook {_NOTEBOOKS[self.kind]} learns such a task"
        if self.network != "SwinUNETR":
            return f"it was released for {self.network} only"
        if self.in_channels != 1:
            return f"its images have {self.in_channels} channels, and volumes here have one"
        return None

    def config(self, folder: MsdFolder | None = None) -> TaskConfig:
        """The published settings, to fine-tune with.

        Images with a window are prepared by it; z-scored ones by percentiles of the foreground ("mr"), which is how MR is
        prepared here.

        Args:
            folder: What `msd_folder` read: names the structures, and is checked; None: whatever data come, they are
                checked when `TaskConfig.task` gets them.

        Raises:
            ValueError: A task that cannot be run here, or data with other channels or another number of labels.
        """
        if self.obstacle:
            others = ", ".join(task.name for task in tasks() if not task.obstacle)
            raise ValueError(f"{self.name} has no settings for data here: {self.obstacle}. Tasks that have: {others}.")
        known: Any = self  # a task without an obstacle has every setting, which a test holds
        organs = None
        if folder is not None:
            organs = structures(self.name, known.classes, folder.label_names, folder.path)
            if len(folder.modality) != self.in_channels:
                raise ValueError(
                    f"{self.name} has images of {self.in_channels} channel, got {', '.join(folder.modality)} in "
                    f"{folder.path}. Take the folder of that data set, or another task."
                )
        return TaskConfig(
            name=self.name,
            volume=VolumeConfig(self._intensity, known.spacing, foreground=0.0),
            patch_size=known.roi,
            foreground_share=known.positive_share,
            overlap=known.overlap,
            classes=known.classes,
            organs=organs,
            epochs=known.epochs,
            warmup_epochs=known.warmup_epochs,
            scans_a_step=known.batch_size,
            patches_a_scan=known.patches,
            learning_rate=known.learning_rate,
            weight_decay=known.weight_decay,
            mixed_precision=known.mixed_precision,
        )

    @property
    def _intensity(self) -> Intensity:
        """By its name where the window has one, as presets call it."""
        if self.window is None:
            return "mr"
        return next((cast(Intensity, name) for name, window in WINDOWS.items() if window == self.window), self.window)

    def details(self) -> dict[str, str]:
        """All that is known about it, as short texts under short names."""
        settings = {
            "task": self.name,
            "kind": self.kind,
            "modality": self.modality,
            "released in": self.folder and f"Downstream/monai/{self.folder}",
            "network": self.network,
            "loss": self.loss,
            "channels": self.in_channels,
            "classes": self.classes,
            "spacing, mm": " x ".join(f"{mm:g}" for mm in self.spacing or ()),
            "window, HU": " to ".join(f"{hu:g}" for hu in self.window or ()) or self.normalisation,
            "patch": " x ".join(map(str, self.roi or ())),
            "patches a scan": self.patches,
            "share around structures": self.positive_share,
            "optimizer": self.optimizer,
            "learning rate": self.learning_rate,
            "weight decay": self.weight_decay,
            "schedule": self.schedule,
            "scans a step": self.batch_size,
            "epochs": self.epochs,
            "warm-up epochs": self.warmup_epochs,
            "mixed precision": {True: "yes", False: "no", None: None}[self.mixed_precision],
            "overlap of windows": self.overlap,
            "validation subjects": self.validation_subjects,
            "reported": "; ".join(map(str, self.reported)),
            "data": self.data,
            "note": self.note,
            "here": "with data in MSD layout" if not self.obstacle else f"no: {self.obstacle}",
        }
        return {name: str(value) for name, value in settings.items() if value not in (None, "")}


def tasks(kind: Kind | None = None) -> list[BenchmarkTask]:
    """All tasks, or those of one kind, in the order of the released table."""
    return [task for task in _all() if kind in (None, task.kind)]


def task(name: str) -> BenchmarkTask:
    """A task by its name or its folder in the released code; case and punctuation do not matter.

    Raises:
        ValueError: There is no such task; the message names what is near.
    """
    # Where tasks share a folder, the first of them is meant.
    known = {_plain(t.folder): t for t in reversed(_all()) if t.folder} | {_plain(t.name): t for t in _all()}
    if _plain(name) in known:
        return known[_plain(name)]
    near = [known[found].name for found in difflib.get_close_matches(_plain(name), known, n=3, cutoff=0.4)]
    near += [t.name for t in _all() if _plain(name) and _plain(name) in _plain(t.name)]
    hint = f"Near: {', '.join(dict.fromkeys(near))}." if near else "benchmark.tasks() lists them all."
    raise ValueError(f"{name!r} is none of the {len(_all())} tasks. {hint}")


def tasks_table(kind: Kind | None = None) -> list[dict[str, str]]:
    """One row of short texts for each task, to browse; an empty text: not known. `BenchmarkTask.details` tells more."""
    rows = []
    for task in tasks(kind):
        texts = task.details()
        figures = "; ".join(f"{figure.method} {figure.value:g}" for figure in task.reported)
        rows.append({name: texts.get(name, "") for name in _COLUMNS} | {"reported": figures})
    return rows


@functools.cache
def _all() -> tuple[BenchmarkTask, ...]:
    return tuple(_task(row) for row in json.loads(_TABLE.read_text(encoding="utf-8")))


def _task(row: dict[str, Any]) -> BenchmarkTask:
    values: dict[str, Any] = {f.name: _frozen(row[f.name]) for f in fields(BenchmarkTask)}
    values["reported"] = tuple(Figure(**figure) for figure in row["reported"])
    return BenchmarkTask(**values)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
