"""Preparation: RAS, spacing, intensity window, foreground, size; the steps of the released pipelines.

Order and numbers: VoCo (CVPR 2024) `utils/data_utils.py` and Large-Scale-Medical (TPAMI 2025)
`Self-supervised/utils/data_trans.py`. Both are MONAI pipelines, and MONAI does the work here too.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from voco_lite.config import Intensity, Spacing, VolumeConfig
from voco_lite.volumes.scan import require_finite
from voco_lite.volumes.volume import Size, Volume

WINDOWS: dict[str, tuple[float, float]] = {"ct-abdomen": (-175.0, 250.0), "ct-chest": (-1000.0, 500.0)}
PERCENTILES = (0.5, 99.5)
_Grid = tuple[Tensor, Tensor]  # (channel, x, y, z) values and their affine


def prepare(volume: Volume, config: VolumeConfig) -> Volume:
    """A scan as the network sees it; `to_original` of the result goes back to the scan's grid.

    Images are interpolated linearly, labels take the nearest voxel. The resize to ``config.size`` puts the corner
    voxels onto each other (``align_corners=True``), as released.

    Args:
        volume: In HU or stored intensities, in any orientation.
        config: What is done.

    Raises:
        ValueError: A voxel that is NaN, a volume that is prepared already, or nothing above the foreground threshold.
    """
    if volume.units == "prepared" and config.intensity != "none":
        raise ValueError(
            f"{volume.source} must be in HU or stored intensities, got a volume that is prepared already. "
            'Load the scan again, or use intensity="none".'
        )
    require_finite(volume.data, volume.source)
    data, affine = _resampled(*to_ras(volume.data, volume.affine), config.spacing, "bilinear")
    data = scale_intensity(data, config.intensity, volume.source)
    labels = None
    if volume.labels is not None:
        ids, kind = volume.labels[None], volume.labels.dtype
        labels = _resampled(*to_ras(ids, volume.affine), config.spacing, "nearest")[0].to(kind)
    if config.foreground is not None:
        box = foreground_box(data, config.foreground, volume.source)
        data, affine = _cropped(data, affine, box)
        labels = None if labels is None else labels[(slice(None), *box)]
    if config.size is not None and config.size != tuple(data.shape[1:]):
        labels = None if labels is None else _resized_labels(labels, config.size)
        data, affine = _resized(data, affine, config.size)
    return replace(
        volume,
        data=data.contiguous(),
        affine=affine,
        units=volume.units if config.intensity == "none" else "prepared",
        labels=None if labels is None else labels[0].contiguous(),
        original=volume.original or volume.space,
    )


def to_ras(
    data: Shaped[Tensor, "channel x y z"], affine: Float[Tensor, "4 4"]
) -> tuple[Shaped[Tensor, "channel x y z"], Float[Tensor, "4 4"]]:
    """The same voxels with axes that run, as nearly as they can, to the patient's right, front and head."""
    from nibabel.orientations import aff2axcodes

    if aff2axcodes(affine.numpy()) == ("R", "A", "S"):
        return data, affine
    from monai.transforms import Orientation

    return _plain(Orientation(axcodes="RAS", labels=None)(_tracked(data, affine)))


def scale_intensity(data: Float[Tensor, "*shape"], intensity: Intensity, source: str = "volume") -> Tensor:
    """Intensity mapped to [0, 1] and clipped.

    "mr" maps the 0.5th and 99.5th percentile of what lies above the smallest intensity, which is the background.

    Raises:
        ValueError: The intensities of an MR volume do not differ.
    """
    if intensity == "none":
        return data
    if intensity == "mr":
        voxels = data[data > data.min()].numpy()
        low, high = np.percentile(voxels, PERCENTILES).tolist() if voxels.size else (0.0, 0.0)
        if low >= high:
            raise ValueError(
                f"The intensities of {source} must differ, got {low:g} at both percentiles {PERCENTILES}. "
                "The scan is empty or a mask: give another."
            )
    elif not isinstance(intensity, str):
        low, high = intensity
    else:
        low, high = WINDOWS[intensity]
        if float(data.min()) >= 0:
            warnings.warn(
                f"{source} holds no intensity below 0, but air is near -1000 HU: it may not be in HU. "
                'Convert it, or choose another intensity ("mr", "none").',
                stacklevel=3,
            )
    return ((data - low) / (high - low)).clamp(0, 1)


def foreground_box(data: Float[Tensor, "channel x y z"], threshold: float, source: str) -> tuple[slice, slice, slice]:
    """The smallest box that holds every voxel above a threshold (MONAI's `CropForeground`, without a margin).

    Raises:
        ValueError: There is no such voxel.
    """
    above = (data > threshold).any(0)
    if not above.any():
        raise ValueError(
            f"{source} must hold a voxel above the foreground threshold {threshold:g} of prepared intensity, got at "
            f"most {float(data.max()):g}. Choose the intensity that fits the scan, or foreground=None."
        )
    spans = [torch.nonzero(above.amax(dim=axes)).flatten() for axes in ((1, 2), (0, 2), (0, 1))]
    x, y, z = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    return x, y, z


def _resampled(data: Tensor, affine: Tensor, spacing: Spacing | None, mode: str) -> _Grid:
    """At a spacing in mm; the axes stay where they are."""
    if spacing is None or torch.allclose(affine[:3, :3].norm(dim=0), torch.tensor(spacing, dtype=torch.float64)):
        return data, affine
    from monai.transforms import Spacing as Resample

    return _plain(Resample(pixdim=spacing, mode=mode, dtype=np.float32)(_tracked(data.float(), affine)))


def _cropped(data: Tensor, affine: Tensor, box: tuple[slice, slice, slice]) -> _Grid:
    moved = affine.clone()
    moved[:3, 3] += affine[:3, :3] @ torch.tensor([side.start for side in box], dtype=torch.float64)
    return data[(slice(None), *box)], moved


def _resized(data: Float[Tensor, "channel x y z"], affine: Float[Tensor, "4 4"], size: Size) -> _Grid:
    """At a size in voxels, corner voxels onto each other."""
    from monai.transforms import Resize

    resized: Any = Resize(size, mode="trilinear", align_corners=True)(data)
    steps = [(have - 1) / (want - 1) if min(have, want) > 1 else have for have, want in _pairs(data, size)]
    return resized.as_tensor(), affine @ torch.diag(torch.tensor([*steps, 1.0], dtype=torch.float64))


def _resized_labels(labels: Shaped[Tensor, "1 x y z"], size: Size) -> Shaped[Tensor, "1 x y z"]:
    """The nearest voxel, on the grid that `_resized` makes."""
    for axis, (have, want) in enumerate(_pairs(labels, size), start=1):
        labels = labels.index_select(axis, torch.linspace(0, have - 1, want, dtype=torch.float64).round().long())
    return labels


def _pairs(data: Tensor, size: Size) -> list[tuple[int, int]]:
    return list(zip(data.shape[1:], size, strict=True))


def _tracked(data: Tensor, affine: Tensor) -> Any:
    from monai.data import MetaTensor

    return MetaTensor(data, affine=affine)


def _plain(tracked: Any) -> _Grid:
    return tracked.as_tensor(), tracked.affine.to(torch.float64)
