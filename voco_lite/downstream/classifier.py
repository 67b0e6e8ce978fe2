"""A trained classifier, as a file holds it, and what it is worth on subjects that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from voco_lite.checkpoints import load_weights
from voco_lite.config import EncoderConfig, VolumeConfig
from voco_lite.downstream.classes import class_numbers
from voco_lite.downstream.classification import ClassificationConfig, PooledClassifier, build_classifier
from voco_lite.downstream.covering import cover
from voco_lite.downstream.stored import read_stored
from voco_lite.encoders import build_encoder
from voco_lite.volumes import Volume

_NAME = "classification"
_LEVEL = 0.95
Truth = Int[ndarray, " subjects"]
Probabilities = Float[ndarray, "subjects classes"]


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network with what it needs to classify a scan.

    Attributes:
        network: In evaluation mode.
        config: Classes and crops.
        volume: How scans have to be prepared.
    """

    network: PooledClassifier
    config: ClassificationConfig
    volume: VolumeConfig

    def predict(self, volume: Volume) -> Float[Tensor, " classes"]:
        """Probability of each class of a prepared volume, float64."""
        return self.network.probabilities(cover(volume.data, self.config.crop_size))


def load_classifier(path: str | Path) -> Classifier:
    """The network of a checkpoint or run folder of a classification.

    Raises:
        FileNotFoundError: No such file, or a folder without a checkpoint.
        ValueError: The file is no readable checkpoint, or not that of a classification.
    """
    stored = read_stored(path, _NAME)
    config = stored.part(_NAME, ClassificationConfig)
    encoder = build_encoder(stored.part("encoder", EncoderConfig), seed=0)
    network = build_classifier(encoder, len(config.classes), seed=0)
    load_weights(network, stored.weights, stored.file)
    network.eval()
    return Classifier(network, config, stored.part("volume", VolumeConfig))


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SubjectClass:
    """What a classifier says about one subject.

    Attributes:
        subject: Its source.
        truth: Its class.
        predicted: The likeliest class.
        score: Probability of the right class.
    """

    subject: str
    truth: str
    predicted: str
    score: float


@dataclass(frozen=True)
class Examination:
    """Scores of a classifier.

    Attributes:
        accuracy: Share of subjects whose likeliest class is the right one.
        auroc: Area under the ROC curve, see `auroc`.
        subjects: One by one.
    """

    accuracy: Estimate
    auroc: Estimate
    subjects: list[SubjectClass]


def examine(classifier: Classifier, subjects: Sequence[Volume], resamples: int = 1000, seed: int = 0) -> Examination:
    """Every score, with intervals over subjects; they say nothing about other seeds of the training.

    Args:
        classifier: A loaded one, or `Classifier(task.network, task.config, task.start.volume)`.
        subjects: Prepared, with the attribute.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: No subjects, one without a known class, or no resamples.
    """
    if len(subjects) == 0 or resamples < 1:
        raise ValueError(f"subjects and resamples must be at least 1, got {len(subjects)} and {resamples}. Give more.")
    config, was_training = classifier.config, classifier.network.training
    truth = np.array(class_numbers(subjects, config.attribute, config.classes))
    classifier.network.eval()
    try:
        found = torch.stack([classifier.predict(subject) for subject in subjects]).numpy()
    finally:
        classifier.network.train(was_training)
    rows = [
        SubjectClass(subject.source, config.classes[right], config.classes[int(row.argmax())], float(row[right]))
        for subject, right, row in zip(subjects, truth, found, strict=True)
    ]
    draws = np.random.default_rng(seed).integers(len(truth), size=(resamples, len(truth)))
    return Examination(estimate(accuracy, truth, found, draws), estimate(auroc, truth, found, draws), rows)


def accuracy(truth: Truth, probabilities: Probabilities) -> float:
    """Share of subjects whose likeliest class is the right one."""
    return float((probabilities.argmax(1) == truth).mean())


def auroc(truth: Truth, probabilities: Probabilities) -> float:
    """Mean over the classes shown of the area under the ROC curve of one class against the rest (scikit-learn).

    Of two classes it is the usual area; 0.5 is chance. NaN where only one class is shown.
    """
    from sklearn.metrics import roc_auc_score

    shown = np.unique(truth)
    if len(shown) < 2:
        return float("nan")
    return float(np.mean([roc_auc_score(truth == number, probabilities[:, number]) for number in shown]))


def estimate(
    measure: Callable[[Truth, Probabilities], float],
    truth: Truth,
    probabilities: Probabilities,
    draws: Int[ndarray, "resamples subjects"],
) -> Estimate:
    """A measure with its percentile bootstrap interval over subjects.

    Resamples that lack a class which the subjects show are left out, since they measure something else. With few
    subjects the interval is too narrow; where all are right it has no width at all.

    Args:
        measure: Such as `accuracy`.
        truth: Number of each subject's class.
        probabilities: Of each class.
        draws: Places of the subjects in each resample.
    """
    classes = len(np.unique(truth))
    value = measure(truth, probabilities)
    kept = [draw for draw in draws if len(np.unique(truth[draw])) == classes]
    if np.isnan(value) or not kept:
        return Estimate(value, float("nan"), float("nan"))
    found = [measure(truth[draw], probabilities[draw]) for draw in kept]
    low, high = np.quantile(found, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Estimate(value, float(low), float(high))
