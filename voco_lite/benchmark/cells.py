"""What the runners of all tasks share: the subjects, a pre-training for each seed, and fine-tuning with several tries.

Beside the tables, a benchmark's folder then holds run folders in `pretraining/` and `fits/`, so that no run that came to its
end is trained twice: not after an interruption, and not for the test subjects.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

import torch
from tqdm.auto import tqdm

from voco_lite import samples
from voco_lite.benchmark.committed import committed_subjects
from voco_lite.benchmark.conditions import Material, Plan, plan_conditions
from voco_lite.benchmark.msd import MsdSubjects, msd_folder
from voco_lite.benchmark.planning import Cell
from voco_lite.benchmark.protocol import Protocol
from voco_lite.config import PretrainConfig, Size, VolumeConfig
from voco_lite.config.plain import require
from voco_lite.dataset import VoCoDataset
from voco_lite.dataset.order import mixed_seed
from voco_lite.downstream import Split, Start, Task, fit, pretrained
from voco_lite.downstream.organs import organ_classes
from voco_lite.encoders import build_encoder
from voco_lite.model import VoCo
from voco_lite.train import pretrain
from voco_lite.volumes import Volume

T = TypeVar("T", bound=Task)


class CellRunner(ABC):
    """Runs the cells of one protocol; what they share is made once.

    Args:
        protocol: With the settings that `voco_lite.benchmark.conditions` describes.
        folder: Of the benchmark.
        data: Folder of the subjects, where the protocol asks for one.

    Attributes:
        subjects: All of them, prepared, by name.

    Raises:
        ValueError: Settings that cannot be run, too few cases in the folder, or a subject to be scored that shows no
            organ, and so has no Dice.
        FileNotFoundError: Warps of the real CT are asked for, and it was not fetched; or no folder.
    """

    def __init__(self, protocol: Protocol, folder: str | Path, data: str | Path | None = None) -> None:
        self.folder = Path(folder)
        self.material, self.plans = plan_conditions(protocol)
        self._prepared = lru_cache(maxsize=2)(partial(read_subjects, self.material, data, committed_subjects(protocol)))
        self.subjects = self._prepared(self.material.pretraining.volume)
        split = protocol.assign(list(self.subjects))
        self.validation = self._named(split.validation)
        self._require_organs(split.validation + split.test)
        for plan in self.plans.values():
            self._require_size(plan)

    @abstractmethod
    def seen_at_once(self, plan: Plan) -> Size:
        """Voxels that the encoder of a condition is given."""

    @abstractmethod
    def __call__(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """Scores of each subject, by metric."""

    def _require_organs(self, scored: Sequence[str]) -> None:
        organs = self.material.organs
        empty = [name for name in scored if not organ_classes(self.subjects[name], organs).any()]
        require(
            not empty,
            f"Subjects that are scored must show one of {', '.join(organs)}, got none in {empty[:3]}. Leave them out, or "
            "name other organs.",
        )

    def _require_size(self, plan: Plan) -> None:
        """Refused here, and not after a pre-training."""
        if not plan.has_encoder:
            return
        with torch.device("meta"):
            encoder = build_encoder(plan.pretraining.encoder)
        try:
            encoder.require_size(self.seen_at_once(plan))
        except ValueError as error:
            raise ValueError(f"patch_size, probe_size or volume of {plan.condition.name!r}: {error}") from error

    def _fit(self, plan: Plan, cell: Cell, make: Callable[[Start, Split, int], T]) -> T:
        """The network of a cell; of several tries, the one that is best on validation subjects.

        Args:
            plan: Of the cell's condition.
            cell: What is run.
            make: From encoder, subjects and seed to what is learnt.
        """
        start, split = self._start(plan, cell), Split(self._named(cell.labelled), self.validation)
        seed = mixed_seed(cell.pretraining_seed, cell.finetuning_seed) % 2**31
        found = []
        folders = plan.fit_folders(self.folder, cell)
        for number, (config, folder) in enumerate(zip(plan.trains, folders, strict=True)):
            task = make(start, split, seed)
            fitted = fit(task, replace(config, seed=seed, run_folder=str(folder)))
            found.append((fitted.score or 0.0, -number, task))
        return max(found)[-1]

    def _start(self, plan: Plan, cell: Cell) -> Start:
        """The encoder of a cell, pre-trained where its condition wants it; both begin with the same weights."""
        config = plan.pretraining.changed(seed=cell.pretraining_seed)
        model = VoCo(config)
        if plan.recipe.start == "pretrained":
            volumes = self._unlabelled(plan, cell, config)
            # Conditions that differ only in their fine-tuning share a pre-training.
            content = json.dumps([config.to_dict(), [volume.source for volume in volumes]], sort_keys=True)
            name = f"p{cell.pretraining_seed}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
            train = replace(config.train, run_folder=str(self.folder / "pretraining" / name))
            pretrain(model, VoCoDataset(volumes, config.crops, seed=train.seed), train)
        return pretrained(model)

    def _unlabelled(self, plan: Plan, cell: Cell, config: PretrainConfig) -> list[Volume]:
        """What a condition pre-trains on."""
        if plan.recipe.pretrained_on == "ct":
            return samples.population(len(cell.unlabelled), config.volume, source="real")
        return [self._prepared(config.volume)[name] for name in cell.unlabelled]

    def _named(self, names: Sequence[str]) -> list[Volume]:
        return [self.subjects[name] for name in names]


def read_subjects(
    material: Material, data: str | Path | None, committed: frozenset[str], volume: VolumeConfig
) -> dict[str, Volume]:
    """All subjects of a protocol, prepared, by names that say nothing of the machine.

    Args:
        material: How many, and what they are.
        data: Folder of the cases, where they lie in one.
        committed: Names of the cases that results of the package were made of. A folder that has them all gives them; any
            other gives its first cases.
        volume: How they are prepared.

    Raises:
        ValueError: Too few cases in the folder, or two of one name.
        FileNotFoundError: No folder is given, or no such; or the real CT was not fetched.
    """
    if material.source != "msd":
        made = samples.population(material.subjects, volume, material.first_seed, source=material.source)
        return {subject.source: subject for subject in made}
    if data is None:
        raise FileNotFoundError(
            "The protocol's subjects lie in a folder of your own, got none. Name it: --data FOLDER."
        )
    found = msd_folder(data)
    if len(found.training) < material.subjects:
        raise ValueError(
            f"{data} must hold {material.subjects} labelled cases, got {len(found.training)}. Give the whole data set."
        )
    there = committed and committed <= {case.subject for case in found.training}
    cases = [case for case in found.training if case.subject in committed or not there][: material.subjects]
    named = {case.subject for case in cases}
    if len(named) < material.subjects:
        raise ValueError(
            f"The {material.subjects} cases of {data} must have names of their own, got {len(named)} names. Rename the files."
        )
    shown = tqdm(cases, desc=f"cases of {found.name}", unit="case", leave=False)
    read = zip(shown, MsdSubjects(found, cases, volume), strict=True)
    return {case.subject: replace(scan, source=case.subject) for case, scan in read}
