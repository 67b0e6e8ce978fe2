"""A volume, where it lies in the patient, and the way back to the grid it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

Size = tuple[int, int, int]
Field = Callable[[Float[Tensor, "4 4"], Size], Float[Tensor, "3 x y z"]]
_SLAB = 2**22  # voxels that are sampled at once on the way back


@dataclass(frozen=True, eq=False)
class Space:
    """A grid of voxels in the patient.

    Attributes:
        affine: Voxel index to RAS mm (+x is the patient's right, +y the front, +z the head), float64.
        shape: Voxels along (x, y, z).
    """

    affine: Float[Tensor, "4 4"]
    shape: Size


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image with everything that is known about it.

    Attributes:
        data: Intensity, a float tensor.
        affine: Voxel index to RAS mm (+x is the patient's right, +y the front, +z the head), float64.
        source: Where it comes from: a path, or how it was made.
        units: Of the intensity: "HU", "prepared" (window mapped to [0, 1]), "stored" (as the file says, unknown).
        labels: Organ ids on the same grid, 0 for everything without a name; None where there are none.
        label_names: Organ names by id.
        attributes: What else is known, as plain values.
        to_source: Displacement in mm of a made subject toward its source: called with (affine, shape) of a grid.
        from_source: The inverse displacement.
        original: The grid that `to_original` goes back to; None: this one.

    Raises:
        ValueError: A shape, type or affine that does not fit.
    """

    data: Float[Tensor, "channel x y z"]
    affine: Float[Tensor, "4 4"]
    source: str
    units: str = "HU"
    labels: Int[Tensor, "x y z"] | None = None
    label_names: dict[int, str] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    to_source: Any = None  # a `Field`, with attributes of its own
    from_source: Any = None
    original: Space | None = None

    def __post_init__(self) -> None:
        if self.data.ndim != 4 or not self.data.is_floating_point():
            advice = "Add a channel with volume[None]." if self.data.ndim == 3 else "Convert with data.float()."
            raise ValueError(
                f"data must be a float tensor (channel, x, y, z), got shape {tuple(self.data.shape)} "
                f"of {self.data.dtype}. {advice}"
            )
        require_affine(self.affine, self.source)
        if self.labels is not None and tuple(self.labels.shape) != self.shape:
            raise ValueError(
                f"labels must have the shape {self.shape} of the volume, got {tuple(self.labels.shape)}. "
                "Give the labels of this scan, without a channel."
            )

    @property
    def shape(self) -> Size:
        """Voxels along (x, y, z)."""
        x, y, z = self.data.shape[1:]
        return x, y, z

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along (x, y, z)."""
        x, y, z = self.affine[:3, :3].norm(dim=0).tolist()
        return x, y, z

    @property
    def space(self) -> Space:
        """The grid of this volume."""
        return Space(self.affine, self.shape)

    def to_original(self, values: Shaped[Tensor, "*channel x y z"]) -> Shaped[Tensor, "*channel X Y Z"]:
        """Anything computed on this volume's grid, on the grid of the file it was read from.

        Floating values are interpolated linearly, whole numbers and booleans are taken from the nearest voxel. What the
        preparation cut away is 0.

        Args:
            values: A prediction, label map or image of this volume's shape, with or without leading axes.

        Raises:
            ValueError: Another shape.
        """
        if tuple(values.shape[-3:]) != self.shape:
            raise ValueError(
                f"values must end in this volume's shape {self.shape}, got {tuple(values.shape)}. "
                "Give what was computed on the whole prepared volume."
            )
        target = self.original or self.space
        return resample(values, self.affine, target)


def require_affine(affine: Tensor, source: str) -> None:
    """Raise ValueError unless the affine is finite and no axis has length 0."""
    if affine.shape != (4, 4) or affine.dtype != torch.float64:
        raise ValueError(
            f"affine must be a (4, 4) float64 tensor, got {tuple(affine.shape)} of {affine.dtype}. "
            "Convert with torch.as_tensor(affine, dtype=torch.float64)."
        )
    if not affine.isfinite().all() or float(affine[:3, :3].det().abs()) < 1e-9:
        raise ValueError(
            f"The voxel size of {source} must be positive along three different axes, got the affine "
            f"{affine[:3].tolist()}. Convert the scan again from its DICOM files, or correct its header."
        )


def resample(
    values: Shaped[Tensor, "*channel x y z"], affine: Float[Tensor, "4 4"], target: Space
) -> Shaped[Tensor, "*channel X Y Z"]:
    """Values of one grid at the voxel centres of another; 0 more than half a voxel outside."""
    flat = values.reshape(-1, *values.shape[-3:])
    to_voxel = torch.linalg.inv(affine) @ target.affine
    result = flat.new_zeros(len(flat), *target.shape)
    plane = target.shape[1] * target.shape[2]
    step = max(1, _SLAB // plane)
    axes = [torch.arange(n, dtype=torch.float64) for n in target.shape]
    for first in range(0, target.shape[0], step):
        slab = torch.meshgrid(axes[0][first : first + step], axes[1], axes[2], indexing="ij")
        points = torch.stack(slab, dim=-1) @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        result[:, first : first + step] = _sampled(flat, points.to(values.device))
    return result.reshape(*values.shape[:-3], *target.shape)


def _sampled(values: Shaped[Tensor, "n x y z"], points: Float[Tensor, "i j k 3"]) -> Shaped[Tensor, "n i j k"]:
    """Values at points in voxels: linear for floating types, else nearest."""
    last = torch.tensor(values.shape[1:], dtype=points.dtype, device=points.device) - 1
    inside = ((points > -0.5 - 1e-6) & (points < last + 0.5 + 1e-6)).all(-1)
    if values.is_floating_point():
        grid = (2 * points / last.clamp(min=1) - 1).flip(-1).float()[None]
        found = F.grid_sample(values[None].float(), grid, mode="bilinear", padding_mode="border", align_corners=True)[0]
    else:
        x, y, z = points.round().clamp(torch.zeros_like(last), last).long().unbind(-1)
        found = values[:, x, y, z]
    return torch.where(inside, found.to(values.dtype), torch.zeros((), dtype=values.dtype, device=values.device))
