"""The losses of VoCo as pure functions of embeddings, similarities and position labels.

Everything here is computed outside autocast, in fp32 at least: the 1e-6 inside the logarithms vanishes beside 1 in
bfloat16 and in half precision. Leading axes are volumes: one loss for each, without a loop over pairs.
"""

from __future__ import annotations

import contextlib
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

EPS = 1e-6
_COSINE_EPS = 1e-8  # of each norm, as in torch's cosine_similarity


class PredictionTerms(NamedTuple):
    """The two terms of the prediction loss, one value for each volume.

    Attributes:
        positive: Over the base crops that a random crop overlaps, weighted.
        negative: Over those that it does not touch.
    """

    positive: Float[Tensor, "*volumes"]
    negative: Float[Tensor, "*volumes"]

    @property
    def total(self) -> Float[Tensor, "*volumes"]:
        """Their sum, the prediction loss."""
        return self.positive + self.negative


def without_autocast(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """A context in which operations on this tensor's device keep their precision."""
    # torch.autocast knows no "meta" device, where nothing is computed anyway.
    kind = tensor.device.type
    return contextlib.nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False)


def cosine(
    crops: Float[Tensor, "*volumes n dim"], bases: Float[Tensor, "*volumes m dim"]
) -> Float[Tensor, "*volumes n m"]:
    """Cosine of every vector of the one with every vector of the other, in fp32 at least."""
    with without_autocast(crops):
        rows, columns = (F.normalize(_full(x), dim=-1, eps=_COSINE_EPS) for x in (crops, bases))
        return rows @ columns.mT


def position_similarity(
    crops: Float[Tensor, "*volumes crops dim"], bases: Float[Tensor, "*volumes bases dim"]
) -> Float[Tensor, "*volumes crops bases"]:
    """Predicted overlap of each random crop with each base crop: their cosine, negatives set to 0.

    Released code: `online_assign`, the same in 2024 and 2025; no temperature, no softmax.

    Args:
        crops: Projected random crops.
        bases: Projected base crops.

    Raises:
        ValueError: Embeddings of different widths.
    """
    if crops.shape[-1] != bases.shape[-1]:
        raise ValueError(
            f"crops and bases must be embeddings of one width, got {crops.shape[-1]} and {bases.shape[-1]}. "
            "Project both with projectors of one output size."
        )
    return cosine(crops, bases).relu()


def prediction_terms(
    similarity: Float[Tensor, "*volumes crops bases"],
    labels: Float[Tensor, "*volumes crops bases"],
    positive_weights: Literal["overlap", "indicator"] = "overlap",
    negative_term: Literal["log", "square"] = "log",
) -> PredictionTerms:
    """How far predicted overlaps are from the true ones.

    With s the similarity and y the label, sums over the crops and bases of a volume::

        positive = sum(-w log(1 - |y - s| + 1e-6)) / (sum(w) + 1e-6),   w = y (2024, 2025) or [y > 0] (paper-time head)
        negative = sum([y = 0] g(s)) / (sum([y = 0]) + 1e-6),           g(s) = -log(1 - s + 1e-6) (2025) or s^2

    Released code: `ce_loss`. Labels may be soft similarities of a teacher (inter-volume contrast).

    Args:
        similarity: Predictions in [0, 1].
        labels: Targets in [0, 1]; float64 labels make the positive term float64.
        positive_weights: "overlap" weighs by the label, "indicator" weighs every overlapped base crop alike.
        negative_term: "log" or "square".

    Raises:
        ValueError: Different shapes.
    """
    if similarity.shape != labels.shape:
        raise ValueError(
            f"similarity and labels must have one shape, got {tuple(similarity.shape)} and {tuple(labels.shape)}. "
            "Both are (volumes, random crops, base crops)."
        )
    with without_autocast(similarity):
        s, y = _full(similarity), _full(labels)
        weights = y if positive_weights == "overlap" else (y > 0).to(s.dtype)
        absent = (y == 0).to(s.dtype)
        apart = -(1 - (y - s).abs() + EPS).log()
        mistaken = s.square() if negative_term == "square" else -(1 - s + EPS).log()
        positive = (weights * apart).sum((-2, -1)) / (weights.sum((-2, -1)) + EPS)
        negative = (absent * mistaken).sum((-2, -1)) / (absent.sum((-2, -1)) + EPS)
    return PredictionTerms(positive, negative)


def prediction_loss(
    similarity: Float[Tensor, "*volumes crops bases"],
    labels: Float[Tensor, "*volumes crops bases"],
    positive_weights: Literal["overlap", "indicator"] = "overlap",
    negative_term: Literal["log", "square"] = "log",
) -> Float[Tensor, "*volumes"]:
    """Positive plus negative term of `prediction_terms`, one value for each volume."""
    return prediction_terms(similarity, labels, positive_weights, negative_term).total


def regularization_loss(
    bases: Float[Tensor, "*volumes bases dim"], gradient: Literal["both", "earlier"] = "both"
) -> Float[Tensor, "*volumes"]:
    """Mean over the pairs of base crops of relu(cosine)^2: different places shall look different.

    Released code: `regularization_loss`; the paper names the first power. The released stop-gradient is one-sided.

    Args:
        bases: Projected base crops.
        gradient: "both" moves both crops of a pair, "earlier" only the one with the lower index (released): the last
            base crop is then never moved.

    Returns:
        One value for each volume; 0 where there is only one base crop.
    """
    n = bases.shape[-2]
    similarity = cosine(bases, bases.detach() if gradient == "earlier" else bases).relu()
    with without_autocast(similarity):
        pairs = torch.ones(n, n, dtype=similarity.dtype, device=similarity.device).triu(diagonal=1)
        return (similarity.square() * pairs).sum((-2, -1)) * (2 / max(n * (n - 1), 1))


def _full(tensor: Tensor) -> Tensor:
    """At least fp32; float64 stays float64."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
