"""Probes of frozen features: can a simple rule read a crop's region or organ from them, in subjects not seen before?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from numpy import ndarray

Encode = Callable[[Float[Tensor, "crops channel x y z"]], Float[Tensor, "crops features"]]
Features = Sequence[Float[Tensor, "crops features"]]
Labels = Sequence[Int[Tensor, " crops"]]
_BATCH = 64
_ITERATIONS = 2000


@dataclass(frozen=True)
class Comparison:
    """Mean of paired differences between two encoders, one pair for each subject.

    Attributes:
        difference: Mean of first minus second.
        low: Lower end of its 95 % interval (Student's t over subjects).
        high: Upper end.
    """

    difference: float
    low: float
    high: float


@torch.no_grad()
def features_of(encode: Encode, crops: Float[Tensor, "crops channel x y z"]) -> Float[Tensor, "crops features"]:
    """Features of many crops, in batches."""
    return torch.cat([encode(part).float().cpu() for part in crops.split(_BATCH)])


def knn_by_subject(features: Features, labels: Labels, neighbours: int = 5) -> Float[ndarray, " subjects"]:
    """Accuracy on each subject of the nearest neighbours among all other subjects' crops, by cosine.

    Args:
        features: Of each subject.
        labels: Of each subject's crops.
        neighbours: How many vote.

    Raises:
        ValueError: Fewer than two subjects.
    """
    from sklearn.neighbors import KNeighborsClassifier

    return _by_subject(KNeighborsClassifier(neighbours, metric="cosine"), features, labels, len(features))


def linear_by_subject(features: Features, labels: Labels, folds: int = 4) -> Float[ndarray, " subjects"]:
    """Accuracy on each subject of a linear classifier that has learnt from the subjects of all other folds.

    Logistic regression with scikit-learn's default penalty, on features that the learning subjects bring to mean 0 and
    variance 1. Whole subjects are put into folds, since leaving out one after the other takes a fit for each.

    Args:
        features: Of each subject.
        labels: Of each subject's crops.
        folds: How many groups; with as many as subjects, each is left out alone.

    Raises:
        ValueError: Fewer than two subjects or folds, or a single class to learn.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS))
    return _by_subject(model, features, labels, min(folds, len(features)))


def _by_subject(model: Any, features: Features, labels: Labels, folds: int) -> Float[ndarray, " subjects"]:
    """Accuracy on each subject of a scikit-learn classifier; no subject is both learnt from and asked about."""
    import numpy as np
    from sklearn.model_selection import GroupKFold, cross_val_predict

    if len(features) < 2:
        raise ValueError(f"a probe needs at least 2 subjects, got {len(features)}. Measure more of them.")
    x, y = (torch.cat(list(part)).numpy() for part in (features, labels))
    subjects = np.repeat(np.arange(len(features)), [len(part) for part in features])
    right = cross_val_predict(model, x, y, groups=subjects, cv=GroupKFold(folds)) == y
    return np.array([right[subjects == subject].mean() for subject in range(len(features))])


def compare(first: Any, second: Any) -> Comparison:
    """The paired difference of two encoders' accuracies on the same subjects, with its 95 % interval.

    Raises:
        ValueError: Other numbers of subjects, or fewer than two.
    """
    import numpy as np
    from scipy import stats

    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"both sides need the same 2 subjects or more, got {len(first)} and {len(second)}.")
    difference = np.asarray(first) - np.asarray(second)
    interval = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
    return Comparison(float(difference.mean()), float(interval.low), float(interval.high))
