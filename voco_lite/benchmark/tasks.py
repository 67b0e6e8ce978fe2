"""The 51 downstream tasks of VoCo's published benchmark, as data: `tasks.json`.

Names, networks, losses, windows, spacings and schedules were read in the released code (Large-Scale-Medical, commit
1ad538b, `Downstream/`), figures where each says so. What was not found there is null: nothing is filled in. The figures
are of offline validation splits, often small, with the best epoch chosen on the same split, and of one seed.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from voco_lite.config import Size, Spacing, VolumeConfig
from voco_lite.downstream.config import FinetuneConfig
from voco_lite.volumes import WINDOWS

if TYPE_CHECKING:
    from voco_lite.benchmark.msd import MsdFolder

Kind = Literal["segmentation", "classification", "registration", "vision-language"]
_TABLE = Path(__file__).with_name("tasks.json")


@dataclass(frozen=True)
class Figure:
    """A published number: whose, its value, what it measures where that was said, and where it was found."""

    method: str
    value: float
    metric: str | None
    source: str


@dataclass(frozen=True)
class TaskConfig:
    """Settings that fine-tune on data in MSD layout; names as in `voco_lite.downstream`.

    Attributes:
        task: Name of the task that they come from.
        volume: How scans are prepared.
        patch_size: Voxels of a training patch and of the sliding window.
        foreground_share: Share of patches with a structure's voxel in the middle.
        overlap: Share that neighbouring windows share.
        channels: Of the images.
        organs: Names of the structures, by label number.
        train: Steps, rates and batch size.
    """

    task: str
    volume: VolumeConfig
    patch_size: Size
    foreground_share: float
    overlap: float
    channels: int
    organs: tuple[str, ...]
    train: FinetuneConfig


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
        validation_subjects: How many the figures rest on.
        reported: Published figures.
        data: How to get the data, where that is known to work.
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
    overlap: float | None
    validation_subjects: int | None
    reported: tuple[Figure, ...]
    data: str | None
    note: str | None

    @property
    def obstacle(self) -> str | None:
        """Why it cannot be run here even with its data; None: it can."""
        if self.kind != "segmentation":
            return f"{self.kind} is described only: `config` makes settings for segmentation"
        if self.network != "SwinUNETR":
            return f"it was released for {self.network} only"
        if self.in_channels != 1:
            return f"its images have {self.in_channels} channels, and volumes here have one"
        if self.normalisation == "window" and self.window not in WINDOWS.values():
            return f"its window {self.window} HU is none of {WINDOWS}"
        return None

    def config(self, folder: MsdFolder) -> TaskConfig:
        """Settings of this task for data in MSD layout.

        Labels, and how many steps make an epoch, come from the data. Images with a window are prepared by it; z-scored
        ones by percentiles of the foreground ("mr"), which is how MR is prepared here.

        Args:
            folder: What `msd_folder` read.

        Raises:
            ValueError: A task that cannot be run here, or data with other channels or too many labels.
        """
        if self.obstacle:
            others = ", ".join(task.name for task in tasks() if not task.obstacle)
            raise ValueError(f"{self.name} has no settings for data here: {self.obstacle}. Tasks that have: {others}.")
        classes, channels = len(folder.organs) + 1, len(folder.modality)
        if (classes, channels) != (self.classes, self.in_channels):
            raise ValueError(
                f"{self.name} has {self.classes} classes with the background and {self.in_channels} channels, got "
                f"{classes} and {channels} in {folder.path}. Take the folder of that data set, or another task."
            )
        intensity = next((name for name, window in WINDOWS.items() if window == self.window), "mr")
        known: Any = self  # a task without an obstacle has every setting, which a test holds
        epoch = math.ceil(len(folder.training) / known.batch_size)
        return TaskConfig(
            task=self.name,
            volume=VolumeConfig(intensity, known.spacing, foreground=0.0),  # type: ignore[arg-type]
            patch_size=known.roi,
            foreground_share=known.positive_share,
            overlap=known.overlap,
            channels=channels,
            organs=folder.organs,
            train=FinetuneConfig(
                steps=epoch * known.epochs,
                # `batch_size` counts patches here, volumes there.
                batch_size=known.batch_size * known.patches,
                learning_rate=known.learning_rate,
                weight_decay=known.weight_decay,
                warmup_steps=epoch * known.warmup_epochs,
                gauge_every=10 * epoch,
            ),
        )


def tasks(kind: Kind | None = None) -> list[BenchmarkTask]:
    """All tasks, or those of one kind, in the order of the released table."""
    return [task for task in _all() if kind in (None, task.kind)]


def task(name: str) -> BenchmarkTask:
    """A task by its name or its folder in the released code; case and punctuation do not matter.

    Raises:
        ValueError: There is no such task; the message names what is near.
    """
    known = {_plain(t.folder): t for t in _all() if t.folder} | {_plain(t.name): t for t in _all()}
    if _plain(name) in known:
        return known[_plain(name)]
    near = [known[found].name for found in difflib.get_close_matches(_plain(name), known, n=3, cutoff=0.4)]
    near += [t.name for t in _all() if _plain(name) and _plain(name) in _plain(t.name)]
    hint = f"Near: {', '.join(dict.fromkeys(near))}." if near else "benchmark.tasks() lists them all."
    raise ValueError(f"{name!r} is none of the {len(_all())} tasks. {hint}")


def tasks_table(kind: Kind | None = None) -> list[dict[str, str]]:
    """One row of short texts for each task, to browse; an empty text: not known."""
    return [
        {
            "task": t.name,
            "kind": t.kind,
            "modality": t.modality or "",
            "network": t.network or "",
            "classes": str(t.classes or ""),
            "spacing, mm": " x ".join(f"{mm:g}" for mm in t.spacing or ()),
            "window, HU": " to ".join(f"{hu:g}" for hu in t.window or ()) or (t.normalisation or ""),
            "patch": " x ".join(map(str, t.roi or ())),
            "epochs": str(t.epochs or ""),
            "reported": "; ".join(f"{figure.method} {figure.value:g}" for figure in t.reported),
            "here": "with data in MSD layout" if not t.obstacle else f"no: {t.obstacle}",
        }
        for t in tasks(kind)
    ]


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
