"""Probes of frozen features: which region of the body does a crop come from, in a subject not seen before?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from voco_lite.config import Size
from voco_lite.crops import extract_crops

if TYPE_CHECKING:
    from numpy import ndarray

    from voco_lite.volumes import Volume

Encode = Callable[[Float[Tensor, "crops channel x y z"]], Float[Tensor, "crops features"]]
_BATCH = 64


@dataclass(frozen=True)
class RegionCrops:
    """Crops of one subject and the regions of their middles."""

    crops: Float[Tensor, "crops channel x y z"]
    regions: Int[Tensor, " crops"]


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


def region_crops(
    volume: Volume, crop_size: Size, n: int, generator: torch.Generator, regions: Size = (3, 3, 3)
) -> RegionCrops:
    """Random crops and the anatomical region of each: the cell of the source's box in which its middle lies.

    Subjects that were warped from a source are divided by where the source has the middle, so that a region is the
    same anatomy in all of them; other volumes are divided by their own box.

    Args:
        volume: A prepared subject.
        crop_size: In voxels.
        n: Number of crops.
        generator: Source of chance.
        regions: Cells along (x, y, z).

    Raises:
        ValueError: A volume smaller than a crop.
    """
    spans = [have - want + 1 for have, want in zip(volume.shape, crop_size, strict=True)]
    if min(spans) < 1:
        raise ValueError(f"crop_size must fit into the volume of {volume.shape} voxels, got {crop_size}. Take less.")
    starts = torch.stack([torch.randint(span, (n,), generator=generator) for span in spans], dim=-1)
    middles = starts + (torch.tensor(crop_size) - 1) / 2
    share = _place(volume, middles)
    cells = torch.tensor(regions)
    index = (share * cells).long().clamp(min=torch.zeros(3, dtype=torch.long), max=cells - 1)
    numbers = (index[:, 0] * regions[1] + index[:, 1]) * regions[2] + index[:, 2]
    return RegionCrops(extract_crops(volume.data, starts, crop_size), numbers)


def _place(volume: Volume, middles: Float[Tensor, "crops 3"]) -> Float[Tensor, "crops 3"]:
    """Where middles lie in the box, 0 to 1 along each axis."""
    if volume.to_source is None:
        return middles / torch.tensor(volume.shape)
    affine = volume.affine.double()
    points = middles.double() @ affine[:3, :3].T + affine[:3, 3]
    voxels = middles.round().long()
    displacement = volume.to_source(volume.affine, volume.shape)
    moved = points + displacement[:, voxels[:, 0], voxels[:, 1], voxels[:, 2]].T.double()
    low, high = (torch.as_tensor(corner, dtype=torch.float64) for corner in volume.to_source.recipe.origin.box)
    return (moved - low) / (high - low)


@torch.no_grad()
def features_of(encode: Encode, crops: Float[Tensor, "crops channel x y z"]) -> Float[Tensor, "crops features"]:
    """Features of many crops, in batches."""
    return torch.cat([encode(part).float().cpu() for part in crops.split(_BATCH)])


def knn_by_subject(
    features: Sequence[Float[Tensor, "crops features"]], labels: Sequence[Int[Tensor, " crops"]], neighbours: int = 5
) -> Float[ndarray, " subjects"]:
    """Accuracy on each subject of the nearest neighbours among all other subjects' crops, by cosine.

    Raises:
        ValueError: Fewer than two subjects.
    """
    import numpy as np
    from sklearn.neighbors import KNeighborsClassifier

    if len(features) < 2:
        raise ValueError(f"nearest neighbours need at least 2 subjects, got {len(features)}. Measure more of them.")
    found = []
    for held in range(len(features)):
        others = [i for i in range(len(features)) if i != held]
        knn = KNeighborsClassifier(neighbours, metric="cosine")
        knn.fit(*(torch.cat([part[i] for i in others]).numpy() for part in (features, labels)))
        found.append(knn.score(features[held].numpy(), labels[held].numpy()))
    return np.array(found)


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
