"""How well a segmentation fits: Dice, Hausdorff distance and surface Dice, organ by organ.

All are MONAI's. An organ that the truth lacks has no score (NaN), whatever was predicted; one that is predicted nowhere
has a Dice and a surface Dice of 0, and the diagonal of the volume as its distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
from torch import Tensor

Spacing = tuple[float, float, float]
Classes = UInt8[Tensor, "x y z"]


def dice(predicted: Classes, truth: Classes, organs: int) -> Float[Tensor, " organs"]:
    """Twice the voxels in common over the sum of both."""
    return compute_dice(_one_hot(predicted, organs), _one_hot(truth, organs), include_background=False)[0]


@dataclass(frozen=True, eq=False)
class Fit:
    """Scores by organ.

    Attributes:
        dice: Overlap, 0 to 1.
        hd95_mm: 95th percentile of the distances between both surfaces.
        surface_dice: Share of both surfaces that lies within the tolerance of the other.
    """

    dice: Float[Tensor, " organs"]
    hd95_mm: Float[Tensor, " organs"]
    surface_dice: Float[Tensor, " organs"]


def measure_fit(predicted: Classes, truth: Classes, organs: int, spacing: Spacing, tolerance_mm: float) -> Fit:
    """All three scores.

    Args:
        predicted, truth: Classes 0 to `organs`.
        organs: Classes beside the background.
        spacing: Voxel size in mm.
        tolerance_mm: Distance between surfaces that counts as none.
    """
    both = _one_hot(predicted, organs), _one_hot(truth, organs)
    shown = both[1][0, 1:].flatten(1).any(1)
    found = both[0][0, 1:].flatten(1).any(1)
    distance = torch.full((organs,), torch.nan, dtype=torch.float64)
    surface = torch.full((organs,), torch.nan, dtype=torch.float64)
    diagonal = math.hypot(*(n * mm for n, mm in zip(truth.shape, spacing, strict=True)))
    distance[shown], surface[shown] = diagonal, 0.0
    if (shown & found).any():
        index = torch.cat([torch.tensor([0]), 1 + torch.nonzero(shown & found).flatten()])
        mine, true = (side[:, index] for side in both)
        tolerances, mm = [tolerance_mm] * (len(index) - 1), list(spacing)
        distance[shown & found] = compute_hausdorff_distance(mine, true, percentile=95, spacing=mm)[0].double()
        surface[shown & found] = compute_surface_dice(mine, true, tolerances, spacing=mm)[0].double()
    return Fit(dice(predicted, truth, organs), distance, surface)


def _one_hot(classes: Classes, organs: int) -> Bool[Tensor, "1 classes x y z"]:
    # `one_hot` would take eight bytes for each voxel and class of a whole scan before they are booleans.
    numbers = torch.arange(organs + 1, dtype=classes.dtype, device=classes.device)
    return (classes == numbers.view(-1, 1, 1, 1))[None]
