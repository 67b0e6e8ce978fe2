"""The levels that give a loss curve meaning: what a prediction is worth that knows nothing, or everything."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from voco_lite.config import CropConfig
from voco_lite.crops import CropGrid, position_labels, sample_starts
from voco_lite.losses import prediction_terms
from voco_lite.objectives import Objective, objective

_DRAWS = 8192
_STEPS = 200


@dataclass(frozen=True)
class Levels:
    """Intra-volume loss, and its sum with the regularization, of four simple predictions.

    Attributes:
        oracle: Similarity equals the label, base crops are orthogonal.
        best_constant: One similarity for all pairs, the best there is.
        orthogonal: All similarities 0: nothing learnt.
        collapse: All similarities 1: every crop looks the same.
        with_regularization: The same four, with the regularization of such embeddings added.
    """

    oracle: float
    best_constant: float
    orthogonal: float
    collapse: float
    with_regularization: dict[str, float]


def levels(crops: CropConfig, chosen: Objective | None = None) -> Levels:
    """The levels of a grid and an objective, as means over many random crops (seed 0).

    Args:
        crops: Grid and border rule.
        chosen: Objective; None: "tpami25" in the default mode.
    """
    return _levels(crops, chosen or objective("tpami25"))


@lru_cache(maxsize=16)
def _levels(crops: CropConfig, chosen: Objective) -> Levels:
    grid = CropGrid.from_config(crops)
    starts = sample_starts(_DRAWS, grid, torch.Generator().manual_seed(0), crops.open_border)
    # Volumes of as many crops as the run has: the terms are ratios of sums over a volume.
    labels = position_labels(starts, grid, crops.official_odd)
    labels = labels[: _DRAWS - _DRAWS % crops.random_crops].reshape(-1, crops.random_crops, grid.bases)

    def loss(similarity: Float[Tensor, "volumes crops bases"]) -> float:
        return float(prediction_terms(similarity, labels, chosen.positive_weights, chosen.negative_term).total.mean())

    constants = torch.linspace(0, 1, _STEPS + 1, dtype=torch.float64)[:-1]
    by_constant = torch.tensor([loss(constant.expand_as(labels)) for constant in constants], dtype=torch.float64)
    intra = {
        "oracle": loss(labels),
        "best_constant": float(by_constant.min()),
        "orthogonal": loss(torch.zeros_like(labels)),
        "collapse": loss(torch.ones_like(labels)),
    }
    return Levels(
        **intra,
        with_regularization={
            "oracle": intra["oracle"],
            "best_constant": float((by_constant + constants.square()).min()),
            "orthogonal": intra["orthogonal"],
            "collapse": intra["collapse"] + 1,
        },
    )
