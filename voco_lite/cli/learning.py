"""What `finetune` does for each task: who is learnt from, the fine-tuning, and the scores of the test subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voco_lite.cli.processes import first_process
from voco_lite.cli.published import MADE, published_settings
from voco_lite.config import VolumeConfig

if TYPE_CHECKING:
    from voco_lite.benchmark.msd import MsdCase
    from voco_lite.cli.finetuning import Finetune
    from voco_lite.downstream import FinetuneConfig, Split, Start, Task
    from voco_lite.downstream.segmenter import OrganScore

TEST_SCORES = "test_scores.csv"
_VALIDATION_SEED, _TEST_SEED = 500, 1000
ORGANS = ("spleen", "liver", "urinary_bladder")  # those of notebooks 07 and 09


def learn(asked: Finetune, start: Start, config: FinetuneConfig) -> None:
    """Fine-tune and print the scores of the test subjects.

    Where a score belongs to a subject or a pair (in all tasks but vision-language), each is kept in the run folder.

    Args:
        asked: The task, its subjects and its options.
        start: The encoder and how scans are prepared for it.
        config: How to train; with a run folder.

    Raises:
        ValueError: Data that the task cannot learn from, or options that do not fit it.
        FileNotFoundError: `data` is no folder.
    """
    ways = {
        "segmentation": _segment,
        "classification": _classify,
        "registration": _register,
        "vision-language": _align,
    }
    ways[asked.task](asked, start, config)


def _segment(asked: Finetune, start: Start, config: FinetuneConfig) -> None:
    from voco_lite.downstream.segmentation import SegmentationConfig, SegmentationTask
    from voco_lite.downstream.segmenter import examine

    split, named = _split(asked, start)
    settings = SegmentationConfig(foreground_share=0.9) if asked.by_organ else SegmentationConfig()
    if asked.published is not None:
        settings = published_settings(asked).choices(named)
    settings = replace(
        settings,
        organs=asked.organs or named or ORGANS,
        patch_size=asked.patch_size,
        by_organ=asked.by_organ,
        linear=config.mode == "linear-probe",
    )
    task = SegmentationTask(start, split, settings, config.seed)
    if not _fit(task, config, "validation Dice"):
        return
    rows = examine(task.network, settings, split.test)
    _report(rows)
    _keep(rows, config)


def _classify(asked: Finetune, start: Start, config: FinetuneConfig) -> None:
    from voco_lite.downstream.classes import GIVEN
    from voco_lite.downstream.classification import ClassificationConfig, ClassificationTask
    from voco_lite.downstream.classifier import Classifier, examine
    from voco_lite.downstream.medmnist3d import MEDMNIST, medmnist_split

    settings = ClassificationConfig(asked.attribute, crop_size=asked.patch_size, class_weights="balanced")
    if asked.data in MEDMNIST:
        if asked.intensity is not None or asked.size is not None:
            raise ValueError(
                f"{asked.data} comes prepared by its authors, got intensity {asked.intensity} and size {asked.size}. "
                "Leave out --intensity and --size."
            )
        split, classes = medmnist_split(asked.data)
        # What a checkpoint says of the preparation: these scans come prepared.
        start = replace(start, volume=VolumeConfig("none", spacing=None, foreground=None))
        settings = replace(settings, attribute=GIVEN, classes=classes)
    else:
        _require_made(
            asked,
            "Or a set of MedMNIST3D, such as organmnist3d; others are learnt from Python, with ClassificationTask.",
        )
        split, _ = _split(asked, start)
    task = ClassificationTask(start, split, settings, config.seed)
    if _fit(task, config, "validation, probability of the right class") and split.test:
        found = examine(Classifier(task.network, settings, start.volume), split.test)
        for name, estimate in (("accuracy", found.accuracy), ("AUROC", found.auroc)):
            print(f"test {name:10}{estimate.value:.3f} (95 % {estimate.low:.3f} to {estimate.high:.3f})")
        _keep(found.subjects, config)


def _register(asked: Finetune, start: Start, config: FinetuneConfig) -> None:
    """Scored by errors against the known warps, beside those without a network."""
    from voco_lite.downstream.affine import no_displacement, register_affine
    from voco_lite.downstream.registrar import examine
    from voco_lite.downstream.registration import RegistrationConfig, RegistrationTask

    _require_made(asked, "Scans of your own are registered from Python, with RegistrationTask.")
    split, _ = _split(asked, start)
    settings = RegistrationConfig(organs=asked.organs or ORGANS)
    task = RegistrationTask(start, split, settings, config.seed)
    if _fit(task, config, "validation Dice of warped labels") and split.test:
        task.network.eval()
        ways = {"no registration": no_displacement, "affine": register_affine, "network": task.register}
        found = examine(ways, split.test, task.config.organs)
        print(found)
        _keep(found.rows, config)


def _align(asked: Finetune, start: Start, config: FinetuneConfig) -> None:
    """Scored by how well reports and scans find each other, against chance."""
    from voco_lite.downstream.aligner import Aligner, examine
    from voco_lite.downstream.text_encoder import MiniLM
    from voco_lite.downstream.vision_language import VisionLanguageConfig, VisionLanguageTask

    _require_made(asked, "Reports are written about subjects whose making is known.")
    settings, text_encoder = VisionLanguageConfig(asked.topics, asked.patch_size), MiniLM()
    split, _ = _split(asked, start)
    task = VisionLanguageTask(start, split, settings, text_encoder, config.seed)
    if _fit(task, config, "validation, probability of what is true") and split.test:
        aligner = Aligner(task.network, settings, start.volume, text_encoder)
        print(examine(aligner, split.test))


def _require_made(asked: Finetune, instead: str) -> None:
    if asked.data not in MADE:
        raise ValueError(f'data must be "population" or "phantoms" for {asked.task}, got {asked.data}. {instead}')


def _split(asked: Finetune, start: Start) -> tuple[Split, tuple[str, ...]]:
    """Subjects in their groups, and the organs that a folder names; its scans are read when they are asked for."""
    from voco_lite import samples
    from voco_lite.downstream import Split, split_subjects

    if asked.data in MADE:
        source: Any = "auto" if asked.data == "population" else "phantom"
        wanted = ((asked.subjects, 0), (asked.validation, _VALIDATION_SEED), (asked.test, _TEST_SEED))
        _require_apart(asked)
        groups = [samples.population(n, start.volume, seed, source) if n else [] for n, seed in wanted]
        return Split(*groups), ()
    if not Path(asked.data).is_dir():
        raise FileNotFoundError(f'There is no folder {asked.data}. Give one, or "population" or "phantoms".')
    from voco_lite.benchmark import msd_folder
    from voco_lite.benchmark.msd import MsdSubjects

    folder = msd_folder(asked.data)
    drawn = split_subjects([_Unread(case) for case in folder.training], asked.validation, asked.test, asked.split_seed)
    parts = (drawn.training, drawn.validation, drawn.test)
    return Split(
        *(MsdSubjects(folder, [subject.case for subject in part], start.volume) for part in parts)
    ), folder.organs


def _require_apart(asked: Finetune) -> None:
    """Made subjects are numbered, and a group begins at a number of its own."""
    for name, count, first in (("subjects", asked.subjects, 0), ("validation", asked.validation, _VALIDATION_SEED)):
        room = (_VALIDATION_SEED if name == "subjects" else _TEST_SEED) - first
        if count > room:
            raise ValueError(
                f"{name} must be at most {room} made subjects, got {count}: further ones would be in two groups. Take fewer, "
                "or a folder of your own."
            )


@dataclass(frozen=True)
class _Unread:
    """A subject of a folder by its files, to be split before a scan is read."""

    case: MsdCase

    @property
    def source(self) -> str:
        return str(self.case.image)


def _fit(task: Task, config: FinetuneConfig, score: str) -> bool:
    """Fine-tune, and say how well the kept weights do by this score; whether this process examines and speaks for all."""
    from voco_lite.downstream import fit

    fitted = fit(task, config)
    if first_process() and fitted.score is not None:
        print(f"{score}: {fitted.score:.3f} after step {fitted.best_step}")
    return first_process()


def _report(rows: Sequence[OrganScore]) -> None:
    """Means over the test subjects, an organ a line."""
    import numpy as np

    if not rows:
        return
    print(f"{'test subjects':24}{'Dice':>8}{'HD95 mm':>9}{'surface':>9}")
    for organ in dict.fromkeys(row.organ for row in rows):
        found = np.array([(r.dice, r.hd95_mm, r.surface_dice) for r in rows if r.organ == organ])
        known = found[~np.isnan(found[:, 0])]
        if len(known):
            dice, distance, surface = known.mean(0)
            print(f"{organ:24}{dice:8.3f}{distance:9.1f}{surface:9.3f}")
    print(f"On the prepared grid; surface: share of the surfaces that lie within {rows[0].tolerance_mm:g} mm.")


def _keep(rows: Sequence[Any], config: FinetuneConfig) -> None:
    """A table of the test subjects in the run folder, a score a row."""
    from voco_lite.tables import write_rows

    if rows and config.run_folder is not None:
        file = write_rows(Path(config.run_folder) / TEST_SCORES, type(rows[0]), rows)
        print(f"Case by case: {file}")
