"""Pairs of scans to register, and what is known about them: points of the body that both show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from voco_lite.volumes import Volume

Points = Float[Tensor, "points 3"]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two scans of one size.

    Attributes:
        moving: Is deformed.
        fixed: Until it looks like this one.
    """

    moving: Volume
    fixed: Volume


def in_a_ring(subjects: Sequence[Volume]) -> list[Pair]:
    """Each subject once as the fixed scan, with the next as the moving one; the last with the first.

    Raises:
        ValueError: A single subject, or sizes that differ.
    """
    if len(subjects) == 1:
        raise ValueError("Registration needs at least 2 subjects in a group, got 1. Give one more, or none.")
    shapes = {subject.shape for subject in subjects}
    if len(shapes) > 1:
        raise ValueError(
            f"Scans of a pair must have one size in voxels, got {sorted(shapes)}. Prepare them with VolumeConfig(size=…)."
        )
    return [Pair(subjects[(i + 1) % len(subjects)], fixed) for i, fixed in enumerate(subjects)]


def known_matches(pair: Pair, n: int, seed: int = 0) -> tuple[Points, Points]:
    """Points of the body in both scans, in voxels of each, float64: fixed, then moving.

    Only for made subjects, whose warps are known. Points are drawn among the labelled voxels of the fixed scan whose
    match lies within the moving scan.

    Args:
        pair: Both from one source.
        n: How many.
        seed: Of the draw.

    Raises:
        ValueError: Subjects that do not know their warp, or that show too few common points.
    """
    there, back = _recipe(pair.fixed), _recipe(pair.moving)
    if there.source != back.source or pair.fixed.labels is None:
        raise ValueError(
            f"Both subjects must be labelled and come from one source, got {there.source} and {back.source}. "
            "Take both of one population."
        )
    labelled = torch.nonzero(pair.fixed.labels > 0).double()
    fixed = labelled[torch.randperm(len(labelled), generator=torch.Generator().manual_seed(seed))[: 4 * n]]
    inner = there.warp.to_source(_moved(fixed, pair.fixed.affine))
    moving = _moved(back.warp.from_source(inner), torch.linalg.inv(pair.moving.affine))
    shown = ((moving >= 0) & (moving <= torch.tensor(pair.moving.shape) - 1)).all(dim=1)
    if int(shown.sum()) < n:
        raise ValueError(
            f"Both subjects must show {n} common points, got {int(shown.sum())} among {len(fixed)} that were drawn "
            f"of {len(labelled)} labelled voxels. Ask for fewer."
        )
    return fixed[shown][:n], moving[shown][:n]


def _moved(points: Points, affine: Float[Tensor, "4 4"]) -> Points:
    return points @ affine[:3, :3].T + affine[:3, 3]


def _recipe(volume: Volume) -> Any:
    recipe = getattr(volume.to_source, "recipe", None)
    if recipe is None:
        raise ValueError(
            f"{volume.source} must know its warp, got a scan without. Target errors need subjects of the sample "
            "population; others can be scored by the Dice of warped labels."
        )
    return recipe
