"""Run the cells of a segmentation benchmark: pre-train once a seed, fine-tune, and score subjects by Dice.

Beside the tables, a benchmark's folder then holds run folders in `pretraining/` and `fits/`, so that nothing is trained
twice: not after an interruption, and not for the test subjects.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from voco_lite import samples
from voco_lite.benchmark.conditions import Plan, plan_conditions
from voco_lite.benchmark.protocol import Protocol
from voco_lite.benchmark.running import Cell, fit_folder
from voco_lite.config import PretrainConfig, Size
from voco_lite.dataset import VoCoDataset
from voco_lite.dataset.order import mixed_seed
from voco_lite.downstream import Split, Start, fit, pretrained, score_subjects
from voco_lite.downstream.dense_probe import DenseProbe, DenseProbeConfig
from voco_lite.downstream.metrics import Classes, dice
from voco_lite.downstream.organs import organ_classes
from voco_lite.downstream.segmentation import SegmentationConfig, SegmentationTask
from voco_lite.model import VoCo
from voco_lite.train import pretrain
from voco_lite.volumes import Volume

METRIC = "dice"


class SegmentationRunner:
    """Runs the cells of one protocol; what they share is made once.

    Args:
        protocol: With the settings that `voco_lite.benchmark.conditions` describes.
        folder: Of the benchmark.

    Attributes:
        subjects: All of them, prepared, by name.

    Raises:
        ValueError: Settings that cannot be run.
        FileNotFoundError: Warps of the real CT are asked for, and it was not fetched.
    """

    def __init__(self, protocol: Protocol, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.material, self.plans = plan_conditions(protocol)
        self.config = SegmentationConfig(self.material.organs, self.material.patch_size)
        volume = PretrainConfig.preset(self.material.preset).volume
        made = samples.population(self.material.subjects, volume, source=self.material.source)
        self.subjects = {subject.source: subject for subject in made}
        self.validation = self._named(protocol.assign(list(self.subjects)).validation)

    def __call__(self, cell: Cell) -> dict[str, dict[str, float]]:
        """Mean Dice over the organs, by subject."""
        plan, scored = self.plans[cell.condition.name], self._named(cell.scored)
        if plan.recipe.labels == "all":
            cell = replace(cell, labelled=cell.unlabelled)
        if plan.recipe.start == "coordinates":
            return {METRIC: {subject.source: self._dice_of_place(cell, subject) for subject in scored}}
        if plan.recipe.head == "ridge":
            config = DenseProbeConfig(self.config.organs, self.config.patch_size)
            return {
                METRIC: DenseProbe(self._named(cell.labelled), scored, config).measure(self._start(plan, cell).encoder)
            }
        return {METRIC: score_subjects(self._fit(plan, cell), scored)}

    def _fit(self, plan: Plan, cell: Cell) -> SegmentationTask:
        """The network of a cell; of several tries, the one that is best on validation subjects."""
        start = self._start(plan, cell)
        split = Split(self._named(cell.labelled), self.validation)
        seed = mixed_seed(cell.pretraining_seed, cell.finetuning_seed) % 2**31
        found = []
        for number, config in enumerate(plan.trains):
            folder = fit_folder(self.folder, cell, number)
            task = SegmentationTask(start, split, self.config, seed)
            fitted = fit(task, replace(config, seed=seed, run_folder=str(folder)))
            found.append((fitted.score or 0.0, -number, task))
        return max(found)[-1]

    def _start(self, plan: Plan, cell: Cell) -> Start:
        """The encoder of a cell, pre-trained where its condition wants it; both begin with the same weights."""
        config = plan.pretraining.changed(seed=cell.pretraining_seed)
        model = VoCo(config)
        if plan.recipe.start == "pretrained":
            # Conditions that differ only in their fine-tuning share a pre-training.
            content = json.dumps([config.to_dict(), cell.unlabelled], sort_keys=True)
            name = f"p{cell.pretraining_seed}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
            train = replace(config.train, run_folder=str(self.folder / "pretraining" / name))
            pretrain(model, VoCoDataset(self._named(cell.unlabelled), config.crops, seed=train.seed), train)
        return pretrained(model)

    def _dice_of_place(self, cell: Cell, subject: Volume) -> float:
        truth = organ_classes(subject, self.config.organs)
        labelled = [organ_classes(other, self.config.organs) for other in self._named(cell.labelled)]
        return float(dice(likeliest_by_place(labelled, subject.shape), truth, len(self.config.organs)).nanmean())

    def _named(self, names: Sequence[str]) -> list[Volume]:
        return [self.subjects[name] for name in names]


def likeliest_by_place(labelled: Sequence[Classes], shape: Size) -> Classes:
    """The class that most label maps have at the same relative place; of equally many, that of the first map.

    What one can know about a scan without looking at it: the baseline of raw coordinates.
    """
    votes = torch.zeros(int(max(int(classes.max()) for classes in labelled)) + 1, *shape)
    for number, classes in enumerate(labelled):
        resized = F.interpolate(classes[None, None].float(), shape, mode="nearest-exact")[0].long()
        votes.scatter_add_(0, resized, torch.full((1, *shape), 1.0 if number else 1.5))
    return votes.argmax(0).to(torch.uint8)
