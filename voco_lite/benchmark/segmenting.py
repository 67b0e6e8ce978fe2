"""Run the cells of a segmentation benchmark: fine-tune or probe, and score subjects by Dice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F

from voco_lite.benchmark.cells import CellRunner
from voco_lite.benchmark.conditions import DICE, REGIONS, Plan
from voco_lite.benchmark.planning import Cell
from voco_lite.config import Size
from voco_lite.downstream import score_subjects
from voco_lite.downstream.dense_probe import DenseProbe, DenseProbeConfig
from voco_lite.downstream.metrics import Classes, dice
from voco_lite.downstream.organs import organ_classes
from voco_lite.downstream.segmentation import SegmentationTask
from voco_lite.encoders import Encoder
from voco_lite.gauges import features_of, knn_by_subject, region_crops
from voco_lite.train.hardware import choose_device
from voco_lite.volumes import Volume

_CROPS = 64  # of each subject


class SegmentationRunner(CellRunner):
    """Scores subjects by the mean Dice of their organs."""

    def seen_at_once(self, plan: Plan) -> Size:
        """A patch; of frozen features, what they are made of."""
        probe = self.material.probe_size if plan.recipe.head == "ridge" else None
        return probe or self.material.patch_size

    def __call__(self, cell: Cell) -> dict[str, dict[str, float]]:
        """Mean Dice over the organs, by subject; of frozen features also the share of crops that are recognised."""
        plan, scored = self.plans[cell.condition.name], self._named(cell.scored)
        if plan.recipe.labels == "all":
            cell = replace(cell, labelled=cell.unlabelled)
        if plan.recipe.start == "coordinates":
            return {DICE: {subject.source: self._dice_of_place(cell, subject) for subject in scored}}
        if plan.recipe.head == "ridge":
            return self._probe(plan, cell)
        settings = self.material.segmentation
        task = self._fit(plan, cell, lambda start, split, seed: SegmentationTask(start, split, settings, seed))
        return {DICE: score_subjects(task, scored)}

    def _probe(self, plan: Plan, cell: Cell) -> dict[str, dict[str, float]]:
        """What frozen features know, of organs and, where they are compared with other subjects', of regions."""
        device = choose_device(plan.trains[0].device)
        encoder, scored = self._start(plan, cell).encoder.to(device), self._named(cell.scored)
        config = DenseProbeConfig(self.material.organs, self.material.probe_size or self.material.patch_size)
        found = {DICE: DenseProbe(self._named(cell.labelled), scored, config).measure(encoder)}
        if len(scored) > 1:
            # All conditions are asked with crops of one size, whatever their encoders were pre-trained on.
            found[REGIONS] = recognised_regions(encoder, scored, self.material.pretraining.crops.crop_size)
        return found

    def _dice_of_place(self, cell: Cell, subject: Volume) -> float:
        organs = self.material.organs
        labelled = [organ_classes(other, organs) for other in self._named(cell.labelled)]
        found = likeliest_by_place(labelled, subject.shape)
        return float(dice(found, organ_classes(subject, organs), len(organs)).nanmean())


@torch.no_grad()
def recognised_regions(encoder: Encoder, subjects: Sequence[Volume], crop_size: Size) -> dict[str, float]:
    """Share of each subject's crops whose region (27 of them) the nearest crops of the other subjects give away."""
    generator = torch.Generator().manual_seed(0)
    sets = [region_crops(subject, crop_size, _CROPS, generator) for subject in subjects]
    encoder.eval()
    device = next(encoder.parameters()).device
    features = [features_of(lambda crops: encoder(crops.to(device)).pooled, one.crops) for one in sets]
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
