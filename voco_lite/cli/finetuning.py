"""`finetune`: from a pre-trained checkpoint and labelled subjects to a network for a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from voco_lite.config import PretrainConfig, Size
from voco_lite.downstream import FinetuneConfig

if TYPE_CHECKING:
    from voco_lite.downstream import Split, Start
    from voco_lite.downstream.segmenter import OrganScore

_VALIDATION_SEED, _TEST_SEED = 500, 1000
_ORGANS = ("spleen", "liver", "urinary_bladder")  # those of notebooks 07 and 09


TaskName = Literal["segmentation", "classification", "registration", "vision-language"]


@dataclass(frozen=True)
class Finetune:
    """Fine-tune a pre-trained encoder on labelled subjects; the same command continues an interrupted run.

    Each task has defaults of its own: `finetune TASK --help` shows them. Segmentation, classification and registration have
    the settings of their notebooks.

    Attributes:
        task: What is learnt.
        start: Checkpoint or run folder of `pretrain` that the encoder comes from; left out: fresh weights, the same
            network trained from scratch.
        preset: Settings of the fresh network and of the preparation, where there is no checkpoint.
        data: Made subjects, "population" (warps of one real CT) or "phantoms"; for segmentation, a folder in the layout
            of the Medical Segmentation Decathlon (dataset.json, imagesTr, labelsTr); for classification, a set of
            MedMNIST3D in its official parts, whole, such as "organmnist3d" or "organmnist3d_64" (needs the extra
            "medmnist").
        subjects: How many made subjects to train on; a folder's rest is used whole.
        validation: Subjects that decide which weights are kept.
        test: Subjects that are examined at the end, once.
        organs: Names of the structures; left out: spleen, liver and bladder of made subjects, which learn within the
            default steps, and all of a folder. Registration does not learn from them, it is scored by them.
        size: Voxels of made subjects along (x, y, z); left out: as in the pre-training.
        patch_size: Voxels of a training patch and of the sliding window; in classification and vision-language, of
            the crops that cover a scan.
        by_organ: Cut as many patches around each organ, and one in ten anywhere; else half of them around voxels of any
            organ.
        attribute: What classification tells apart in made subjects: "lesion", "contrast_phase" or "body_shape".
        topics: What the reports of vision-language talk about: "contrast_phase", "body_shape", "lesion", "organs".
        train: How to train. Vision-language contrasts the scans of a batch with each other: take as many as fit into memory.
    """

    task: Positional[TaskName] = "segmentation"
    start: Annotated[str | None, tyro.conf.arg(name="from")] = None
    preset: str = "laptop"
    data: str = "population"
    subjects: int = 8
    validation: int = 4
    test: int = 4
    organs: tuple[str, ...] = ()
    size: Size | None = None
    patch_size: Size = (64, 64, 64)
    by_organ: bool = True
    attribute: str = "lesion"
    topics: tuple[str, ...] = ("contrast_phase", "lesion", "organs")
    train: FinetuneConfig = field(default_factory=lambda: FinetuneConfig(batch_size=2, learning_rate=1e-3))

    def run(self) -> None:
        """Fine-tune, then examine the test subjects and say where everything lies."""
        from voco_lite.downstream import pretrained, untrained

        config = self.train
        if config.run_folder is None:
            config = replace(config, run_folder=str(Path("runs") / f"{self.task}-{Path(self.data).name}"))
        fresh = PretrainConfig.preset(self.preset)
        start = untrained(fresh, config.seed) if self.start is None else pretrained(self.start)
        if self.size is not None:
            start = replace(start, volume=replace(start.volume, size=self.size))
        learn = {
            "segmentation": self._segment,
            "classification": self._classify,
            "registration": self._register,
            "vision-language": self._align,
        }
        learn[self.task](start, config)
        print(f"Run folder: {config.run_folder}")

    def _segment(self, start: Start, config: FinetuneConfig) -> None:
        """Fine-tune for segmentation and print the scores, organ by organ."""
        from voco_lite.downstream import fit
        from voco_lite.downstream.segmentation import SegmentationConfig, SegmentationTask
        from voco_lite.downstream.segmenter import examine

        split, named = self._split(start)
        settings = SegmentationConfig(patch_size=self.patch_size, linear=config.mode == "linear-probe")
        if self.by_organ:
            settings = replace(settings, foreground_share=0.9, by_organ=True)
        settings = replace(settings, organs=self.organs or named or _ORGANS)
        task = SegmentationTask(start, split, settings, config.seed)
        fitted = fit(task, config)
        if fitted.score is not None:
            print(f"validation Dice: {fitted.score:.3f} after step {fitted.best_step}")
        _report(examine(task.network, settings, split.test))

    def _classify(self, start: Start, config: FinetuneConfig) -> None:
        """Fine-tune for classification and print accuracy and AUROC with their intervals.

        Raises:
            ValueError: A folder, which says nothing about its subjects, or as `medmnist_split`.
            FileNotFoundError: As `medmnist_split`.
        """
        from voco_lite.downstream import fit
        from voco_lite.downstream.classes import GIVEN
        from voco_lite.downstream.classification import ClassificationConfig, ClassificationTask
        from voco_lite.downstream.classifier import Classifier, examine
        from voco_lite.downstream.medmnist3d import MEDMNIST, medmnist_split

        settings = ClassificationConfig(self.attribute, crop_size=self.patch_size, class_weights="balanced")
        if self.data in MEDMNIST:
            split, classes = medmnist_split(self.data)
            settings = replace(settings, attribute=GIVEN, classes=classes)
        else:
            self._require_made(
                "Or a set of MedMNIST3D, such as organmnist3d; others are learnt from Python, with ClassificationTask."
            )
            split, _ = self._split(start)
        task = ClassificationTask(start, split, settings, config.seed)
        fitted = fit(task, config)
        if fitted.score is not None:
            print(f"validation, probability of the right class: {fitted.score:.3f} after step {fitted.best_step}")
        if split.test:
            found = examine(Classifier(task.network, settings, start.volume), split.test)
            for name, estimate in (("accuracy", found.accuracy), ("AUROC", found.auroc)):
                print(f"test {name:10}{estimate.value:.3f} (95 % {estimate.low:.3f} to {estimate.high:.3f})")

    def _register(self, start: Start, config: FinetuneConfig) -> None:
        """Fine-tune for registration and print errors against the known warps, beside those without a network.

        Raises:
            ValueError: A folder, whose scans do not know their warps.
        """
        from voco_lite.downstream import fit
        from voco_lite.downstream.affine import no_displacement, register_affine
        from voco_lite.downstream.registrar import examine
        from voco_lite.downstream.registration import RegistrationConfig, RegistrationTask

        self._require_made("Scans of your own are registered from Python, with RegistrationTask.")
        split, _ = self._split(start)
        settings = RegistrationConfig(organs=self.organs or _ORGANS)
        task = RegistrationTask(start, split, settings, config.seed)
        fitted = fit(task, config)
        if fitted.score is not None:
            print(f"validation Dice of warped labels: {fitted.score:.3f} after step {fitted.best_step}")
        if split.test:
            task.network.eval()
            ways = {"no registration": no_displacement, "affine": register_affine, "network": task.register}
            print(examine(ways, split.test, task.config.organs))

    def _align(self, start: Start, config: FinetuneConfig) -> None:
        """Bring scans and reports about them together and print how well each finds the other, against chance.

        Raises:
            ValueError: A folder, about whose scans nothing is known, or the text encoder is not installed.
        """
        from voco_lite.downstream import fit
        from voco_lite.downstream.aligner import Aligner, examine
        from voco_lite.downstream.text_encoder import MiniLM
        from voco_lite.downstream.vision_language import VisionLanguageConfig, VisionLanguageTask

        self._require_made("Reports are written about subjects whose making is known.")
        settings, text_encoder = VisionLanguageConfig(self.topics, self.patch_size), MiniLM()
        split, _ = self._split(start)
        task = VisionLanguageTask(start, split, settings, text_encoder, config.seed)
        fitted = fit(task, config)
        if fitted.score is not None:
            print(f"validation, probability of what is true: {fitted.score:.3f} after step {fitted.best_step}")
        if split.test:
            aligner = Aligner(task.network, settings, start.volume, text_encoder)
            print(examine(aligner, split.test, ks=[k for k in (1, 3) if k == 1 or k < len(split.test)]))

    def _require_made(self, instead: str) -> None:
        if self.data not in ("population", "phantoms"):
            raise ValueError(f'data must be "population" or "phantoms" for {self.task}, got {self.data}. {instead}')

    def _split(self, start: Start) -> tuple[Split, tuple[str, ...]]:
        """Subjects in their groups, and the organs that a folder names.

        Raises:
            FileNotFoundError: `data` is no folder.
        """
        from voco_lite import samples
        from voco_lite.downstream import Split, split_subjects

        if self.data in ("population", "phantoms"):
            source: Any = "auto" if self.data == "population" else "phantom"
            wanted = ((self.subjects, 0), (self.validation, _VALIDATION_SEED), (self.test, _TEST_SEED))
            groups = [samples.population(n, start.volume, seed, source) if n else [] for n, seed in wanted]
            return Split(*groups), ()
        if not Path(self.data).is_dir():
            raise FileNotFoundError(f'There is no folder {self.data}. Give one, or "population" or "phantoms".')
        from voco_lite import load_volume
        from voco_lite.benchmark import msd_folder

        folder = msd_folder(self.data)
        volumes = [load_volume(case.image, start.volume, case.label, folder.label_names) for case in folder.training]
        organs = tuple(name for number, name in sorted(folder.label_names.items()) if number)
        return split_subjects(volumes, self.validation, self.test, self.train.seed), organs


def recipe(task: TaskName) -> Finetune:
    """The defaults of a task."""
    return {
        "segmentation": Finetune(
            patch_size=(32, 32, 32), train=FinetuneConfig(steps=200, batch_size=8, learning_rate=3e-3)
        ),
        "classification": Finetune(
            "classification",
            subjects=24,
            validation=6,
            test=16,
            attribute="contrast_phase",
            patch_size=(32, 32, 32),
            train=FinetuneConfig(steps=60, batch_size=2, learning_rate=1e-3),
        ),
        # Coarse scans let the same time hold many more steps.
        "registration": Finetune(
            "registration",
            size=(48, 48, 48),
            train=FinetuneConfig(steps=300, batch_size=1, learning_rate=2e-3, warmup_steps=30),
        ),
        "vision-language": Finetune(
            "vision-language", subjects=64, test=16, train=FinetuneConfig(batch_size=16, learning_rate=1e-3)
        ),
    }[task]


def _report(rows: Sequence[OrganScore]) -> None:
    """Means over the test subjects, an organ a line."""
    import numpy as np

    if rows:
        print(f"{'test subjects':24}{'Dice':>8}{'HD95 mm':>9}{'surface':>9}")
    for organ in dict.fromkeys(row.organ for row in rows):
        found = np.array([(r.dice, r.hd95_mm, r.surface_dice) for r in rows if r.organ == organ])
        known = found[~np.isnan(found[:, 0])]
        if len(known):
            dice, distance, surface = known.mean(0)
            print(f"{organ:24}{dice:8.3f}{distance:9.1f}{surface:9.3f}")
