"""Run the cells of a segmentation benchmark: pre-train once a seed, fine-tune, and score subjects by Dice.

Beside the tables, a benchmark's folder then holds run folders in `pretraining/` and `fits/`, so that nothing is trained
twice: not after an interruption, and not for the test subjects.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from voco_lite import samples
from voco_lite.benchmark.conditions import Material, Plan, plan_conditions
from voco_lite.benchmark.msd import msd_folder
from voco_lite.benchmark.protocol import Protocol
from voco_lite.benchmark.running import Cell, fit_folder
from voco_lite.config import Size, VolumeConfig
from voco_lite.dataset import VoCoDataset
from voco_lite.dataset.order import mixed_seed
from voco_lite.downstream import Split, Start, fit, pretrained, score_subjects
from voco_lite.downstream.dense_probe import DenseProbe, DenseProbeConfig
from voco_lite.downstream.metrics import Classes, dice
from voco_lite.downstream.organs import organ_classes
from voco_lite.downstream.segmentation import SegmentationTask
from voco_lite.encoders import Encoder
from voco_lite.gauges import features_of, knn_by_subject, region_crops
from voco_lite.model import VoCo
from voco_lite.train import pretrain
from voco_lite.volumes import Volume

METRIC = "dice"
REGIONS = "regions"  # share of crops whose region of the body is found
_CROPS = 64  # of each subject


class SegmentationRunner:
    """Runs the cells of one protocol; what they share is made once.

    Args:
        protocol: With the settings that `voco_lite.benchmark.conditions` describes.
        folder: Of the benchmark.
        data: Folder of the subjects, where the protocol asks for one.

    Attributes:
        subjects: All of them, prepared, by name.

    Raises:
        ValueError: Settings that cannot be run, or too few cases in the folder.
        FileNotFoundError: Warps of the real CT are asked for, and it was not fetched; or no folder.
    """

    def __init__(self, protocol: Protocol, folder: str | Path, data: str | Path | None = None) -> None:
        self.folder = Path(folder)
        self.material, self.plans = plan_conditions(protocol)
        self.config = self.material.segmentation
        self._prepared = lru_cache(maxsize=2)(partial(read_subjects, self.material, data))
        self.subjects = self._prepared(self.material.pretraining.volume)
        self.validation = self._named(protocol.assign(list(self.subjects)).validation)

    def __call__(self, cell: Cell) -> dict[str, dict[str, float]]:
        """Mean Dice over the organs, by subject; of frozen features also the share of crops that are recognised."""
        plan, scored = self.plans[cell.condition.name], self._named(cell.scored)
        if plan.recipe.labels == "all":
            cell = replace(cell, labelled=cell.unlabelled)
        if plan.recipe.start == "coordinates":
            return {METRIC: {subject.source: self._dice_of_place(cell, subject) for subject in scored}}
        if plan.recipe.head == "ridge":
            return self._probe(plan, cell)
        return {METRIC: score_subjects(self._fit(plan, cell), scored)}

    def _probe(self, plan: Plan, cell: Cell) -> dict[str, dict[str, float]]:
        """What frozen features know, of organs and, where they are compared with other subjects', of regions."""
        encoder, scored = self._start(plan, cell).encoder, self._named(cell.scored)
        config = DenseProbeConfig(self.config.organs, self.material.probe_size or self.config.patch_size)
        found = {METRIC: DenseProbe(self._named(cell.labelled), scored, config).measure(encoder)}
        if len(scored) > 1:
            # All conditions are asked with crops of one size, whatever their encoders were pre-trained on.
            found[REGIONS] = recognised_regions(encoder, scored, self.material.pretraining.crops.crop_size)
        return found

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
            unlabelled = [self._prepared(config.volume)[name] for name in cell.unlabelled]
            pretrain(model, VoCoDataset(unlabelled, config.crops, seed=train.seed), train)
        return pretrained(model)

    def _dice_of_place(self, cell: Cell, subject: Volume) -> float:
        truth = organ_classes(subject, self.config.organs)
        labelled = [organ_classes(other, self.config.organs) for other in self._named(cell.labelled)]
        return float(dice(likeliest_by_place(labelled, subject.shape), truth, len(self.config.organs)).nanmean())

    def _named(self, names: Sequence[str]) -> list[Volume]:
        return [self.subjects[name] for name in names]


def read_subjects(material: Material, data: str | Path | None, volume: VolumeConfig) -> dict[str, Volume]:
    """All subjects of a protocol, prepared, by names that say nothing of the machine.

    Raises:
        ValueError: Too few cases in the folder.
        FileNotFoundError: No folder is given, or no such; or the real CT was not fetched.
    """
    if material.source != "msd":
        return {s.source: s for s in samples.population(material.subjects, volume, source=material.source)}
    if data is None:
        raise FileNotFoundError(
            "The protocol's subjects lie in a folder of your own, got none. Name it: --data FOLDER."
        )
    found = msd_folder(data)
    if len(found.training) < material.subjects:
        raise ValueError(
            f"{data} must hold {material.subjects} labelled cases, got {len(found.training)}. Give the whole data set."
        )
    cases = tqdm(found.training[: material.subjects], desc=f"cases of {found.name}", unit="case", leave=False)
    read = zip(cases, found.subjects(volume), strict=False)
    return {case.subject: replace(scan, source=case.subject) for case, scan in read}


@torch.no_grad()
def recognised_regions(encoder: Encoder, subjects: Sequence[Volume], crop_size: Size) -> dict[str, float]:
    """Share of each subject's crops whose region (27 of them) the nearest crops of the other subjects give away."""
    generator = torch.Generator().manual_seed(0)
    sets = [region_crops(subject, crop_size, _CROPS, generator) for subject in subjects]
    encoder.eval()
    features = [features_of(lambda crops: encoder(crops).pooled, one.crops) for one in sets]
    found = knn_by_subject(features, [one.regions for one in sets])
    return {subject.source: float(score) for subject, score in zip(subjects, found, strict=True)}


def likeliest_by_place(labelled: Sequence[Classes], shape: Size) -> Classes:
    """The class that most label maps have at the same relative place; of equally many, that of the first map.

    What one can know about a scan without looking at it: the baseline of raw coordinates.
    """
    votes = torch.zeros(int(max(int(classes.max()) for classes in labelled)) + 1, *shape)
    for number, classes in enumerate(labelled):
        resized = F.interpolate(classes[None, None].float(), shape, mode="nearest-exact")[0].long()
        votes.scatter_add_(0, resized, torch.full((1, *shape), 1.0 if number else 1.5))
    return votes.argmax(0).to(torch.uint8)
