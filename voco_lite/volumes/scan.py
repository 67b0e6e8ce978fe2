"""What a reader hands over, and the checks that every scan has to pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray
from torch import Tensor

VOXEL_LIMIT = 2**29  # 512 x 512 x 2048: 2.1 GB in float32
NIFTI_ENDINGS = (".nii", ".nii.gz")
ADVICE = "Give a NIfTI file (.nii, .nii.gz) or the folder of a DICOM series."


@dataclass(frozen=True, eq=False)
class Scan:
    """What a reader hands over: a file's voxels on the file's own grid.

    Attributes:
        array: Voxels in the order of the file.
        affine: Voxel index to RAS mm.
        units: "HU" or "stored".
        attributes: What the file says besides, without anything about the patient.
    """

    array: Shaped[ndarray, "x y z"]
    affine: Float[ndarray, "4 4"]
    units: str = "stored"
    attributes: dict[str, Any] = field(default_factory=dict)


def require_shape(shape: tuple[int, ...], path: Path) -> None:
    """Raise ValueError unless it is three axes of two voxels or more, and few enough to be held in memory."""
    if len(shape) != 3 or min(shape) < 2:
        raise ValueError(
            f"{path} must hold one 3-D image with at least 2 voxels along every axis, got shape {shape}. "
            + ("Take one of its images, such as image.slicer[..., 0] in nibabel." if len(shape) > 3 else ADVICE)
        )
    voxels = int(np.prod([int(n) for n in shape], dtype=object))
    if voxels > VOXEL_LIMIT:
        raise ValueError(
            f"{path} must hold at most {VOXEL_LIMIT:,} voxels, got {voxels:,} ({shape}); it was not read. "
            "Check where the file comes from; crop or resample it, or raise voco_lite.volumes.scan.VOXEL_LIMIT."
        )


def require_finite(data: Tensor, source: str) -> None:
    """Raise ValueError when a voxel is NaN or infinite."""
    bad = int((~data.isfinite()).sum())
    if bad:
        raise ValueError(
            f"Every voxel of {source} must be a finite number, got {bad:,} that are NaN or infinite. "
            "Replace them by the background, such as numpy.nan_to_num(array, nan=-1024), and save it again."
        )
