"""Crops that a probe of frozen features is asked about: from which region of the body, around which organ?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from voco_lite.config import Size
from voco_lite.crops import extract_crops

if TYPE_CHECKING:
    from voco_lite.volumes import Volume


@dataclass(frozen=True)
class RegionCrops:
    """Crops of one subject and the regions of their middles."""

    crops: Float[Tensor, "crops channel x y z"]
    regions: Int[Tensor, " crops"]


@dataclass(frozen=True)
class OrganCrops:
    """Crops of one subject and the organs at their middles, as places in the list that was asked for."""

    crops: Float[Tensor, "crops channel x y z"]
    organs: Int[Tensor, " crops"]


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
    spans = _spans(volume, crop_size)
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


def organ_crops(
    volume: Volume, crop_size: Size, n: int, generator: torch.Generator, organs: Sequence[str]
) -> OrganCrops:
    """Random crops around voxels of organs, and the organ of each: the label of its central voxel.

    The label of the central voxel is the usual target where patches are classified (Cireşan et al., "Deep Neural
    Networks Segment Neuronal Membranes in Electron Microscopy Images", NIPS 2012). What fills most of a crop would be
    another question: the largest organ nearby. The central voxel is the one MONAI's spatial crops call so,
    `crop_size // 2` after the first. First an organ is drawn, then one of its voxels, so that large organs do not
    decide an accuracy; the background and organs that were not named are left out.

    Args:
        volume: A prepared subject with labels.
        crop_size: In voxels.
        n: Number of crops.
        generator: Source of chance.
        organs: Names, as in `volume.label_names`. Those that no crop can have in its middle are not drawn.

    Raises:
        ValueError: A volume smaller than a crop, no labels, an unknown name, or none of the organs within reach.
    """
    spans, ids = _spans(volume, crop_size), {name: number for number, name in volume.label_names.items()}
    unknown = [organ for organ in organs if organ not in ids]
    if volume.labels is None or unknown:
        got = f"{unknown[0]!r}" if unknown else "no labels"
        known = f"Its names: {', '.join(ids)}." if ids else "Load it with its label map."
        raise ValueError(f"organs must be names of the labels of {volume.source}, got {got}. {known}")
    reach = tuple(slice(size // 2, size // 2 + span) for size, span in zip(crop_size, spans, strict=True))
    # A voxel of the part within reach has the indices of the first voxel of its crop.
    starts = [torch.nonzero(volume.labels[reach] == ids[organ]) for organ in organs]
    shown = [number for number, found in enumerate(starts) if len(found)]
    if not shown:
        raise ValueError(
            f"{volume.source} must show one of {tuple(organs)} in the middle of some crop of {crop_size} voxels, got "
            "none. Take smaller crops, or name other organs."
        )
    drawn = torch.tensor(shown)[torch.randint(len(shown), (n,), generator=generator)]
    chosen = torch.stack([starts[k][torch.randint(len(starts[k]), (), generator=generator)] for k in drawn.tolist()])
    return OrganCrops(extract_crops(volume.data, chosen, crop_size), drawn)


def _spans(volume: Volume, crop_size: Size) -> list[int]:
    """How many places a crop has along each axis.

    Raises:
        ValueError: It does not fit.
    """
    spans = [have - want + 1 for have, want in zip(volume.shape, crop_size, strict=True)]
    if min(spans) < 1:
        raise ValueError(f"crop_size must fit into the volume of {volume.shape} voxels, got {crop_size}. Take less.")
    return spans
