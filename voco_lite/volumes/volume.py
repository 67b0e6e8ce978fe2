"""A volume, where it lies in the patient, and the way back to the grid it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from voco_lite.volumes.resampling import resample

Size = tuple[int, int, int]
Field = Callable[[Float[Tensor, "4 4"], Size], Float[Tensor, "3 x y z"]]


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
        return resample(values, torch.linalg.inv(self.affine) @ target.affine, target.shape)


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
