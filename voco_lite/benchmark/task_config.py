"""The published settings of a segmentation task, and the steps from there to a fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from voco_lite.config import Size, VolumeConfig
from voco_lite.downstream.config import FinetuneConfig

if TYPE_CHECKING:
    from voco_lite.downstream import Split, Start
    from voco_lite.downstream.segmentation import SegmentationConfig, SegmentationTask


@dataclass(frozen=True)
class TaskConfig:
    """Settings of a segmentation task; `fit(settings.task(start, split), settings.recipe(scans))` trains with them.

    Not as released: patches are neither flipped nor turned, half of them are shifted in intensity instead of a tenth, and
    MR is mapped by percentiles instead of z-scored. `dataclasses.replace` changes single settings.

    Attributes:
        name: Of the task that they come from.
        volume: How scans are prepared.
        patch_size: Voxels of a training patch and of the sliding window.
        foreground_share: Share of patches with a structure's voxel in the middle.
        overlap: Share that neighbouring windows share.
        classes: The background counted.
        organs: Names of the structures, by label number; None: as the first training subject names them.
        epochs: Times that every training scan is shown.
        warmup_epochs: Of them, with a rising rate.
        scans_a_step: Training scans of an optimizer step.
        patches_a_scan: Cut from each of them.
        learning_rate: Peak rate of AdamW, before the cosine.
        weight_decay: Of AdamW.
        mixed_precision: Trained in half precision where the device can; False: in single precision.
    """

    name: str
    volume: VolumeConfig
    patch_size: Size
    foreground_share: float
    overlap: float
    classes: int
    organs: tuple[str, ...] | None
    epochs: int
    warmup_epochs: int
    scans_a_step: int
    patches_a_scan: int
    learning_rate: float
    weight_decay: float
    mixed_precision: bool

    def recipe(self, scans: int) -> FinetuneConfig:
        """How to train on so many scans, which make an epoch.

        Raises:
            ValueError: Less than one.
        """
        if scans < 1:
            raise ValueError(
                f"scans must be at least 1, got {scans}. Count the training subjects: len(split.training)."
            )
        epoch = math.ceil(scans / self.scans_a_step)
        return FinetuneConfig(
            steps=epoch * self.epochs,
            batch_size=self.scans_a_step * self.patches_a_scan,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup_steps=epoch * self.warmup_epochs,
            gauge_every=10 * epoch,
            precision="auto" if self.mixed_precision else "fp32",
        )

    def task(self, start: Start, split: Split, seed: int = 0) -> SegmentationTask:
        """The task on labelled subjects, ready for `fit`.

        Args:
            start: The encoder; released: "swin-b", "swin-l" and "swin-h". It is taken as one for scans that are prepared by
                `volume`.
            split: Subjects prepared by `volume`, such as `msd_folder(FOLDER).subjects(settings.volume)`.
            seed: Of the decoder's weights.

        Raises:
            ValueError: Subjects with another number of labels, or a patch size that the encoder cannot take.
        """
        from voco_lite.downstream.segmentation import SegmentationTask

        organs = self.organs
        if organs is None:
            subject = split.training[0]
            organs = structures(self.name, self.classes, subject.label_names, subject.source)
        return SegmentationTask(replace(start, volume=self.volume), split, self.choices(organs), seed)

    def choices(self, organs: tuple[str, ...]) -> SegmentationConfig:
        """How patches of these structures are cut."""
        from voco_lite.downstream.segmentation import SegmentationConfig

        return SegmentationConfig(organs, self.patch_size, self.foreground_share, overlap=self.overlap)


def structures(task: str, classes: int, label_names: Mapping[int, str], where: object) -> tuple[str, ...]:
    """Names of the labels without the background, by number.

    Raises:
        ValueError: Not as many as the task has.
    """
    names = tuple(name for number, name in sorted(label_names.items()) if number)
    if len(names) + 1 != classes:
        raise ValueError(
            f"{task} has {classes} classes with the background, got {len(names) + 1} in {where}. Take the labels of that "
            "data set, or another task."
        )
    return names
