"""Writing NIfTI files, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from voco_lite.volumes.scan import NIFTI_ENDINGS
from voco_lite.volumes.volume import Space, Volume


def save_volume(volume: Volume, path: str | Path, labels_path: str | Path | None = None) -> Path:
    """Write a volume's intensities as float32 NIfTI, and its labels where a path for them is given.

    Raises:
        ValueError: Several channels, no labels to write, or a name that is not .nii or .nii.gz.
    """
    if len(volume.data) != 1:
        raise ValueError(f"A volume must have one channel to be saved, got {len(volume.data)}. Save them one by one.")
    if labels_path is not None:
        if volume.labels is None:
            raise ValueError(f"{volume.source} must have labels to save, got none. Leave out labels_path.")
        save_map(volume.labels, volume.space, labels_path)
    return save_map(volume.data[0], volume.space, path)


def save_map(values: Shaped[Tensor, "x y z"], space: Space, path: str | Path) -> Path:
    """Write anything that lies on a grid, such as `volume.to_original(prediction)` on `volume.original`.

    Raises:
        ValueError: Another shape than the grid's, or a name that is not .nii or .nii.gz.
    """
    import nibabel

    target = Path(path).expanduser()
    if not target.name.lower().endswith(NIFTI_ENDINGS):
        raise ValueError(f"The name of a volume must end in .nii or .nii.gz, got {target.name!r}. Rename it.")
    if tuple(values.shape) != tuple(space.shape):
        raise ValueError(f"values must have the grid's shape {space.shape}, got {tuple(values.shape)}. Give its space.")
    array = values.detach().cpu().numpy()
    array = array.astype(np.float32 if values.is_floating_point() else _whole(values))
    image = nibabel.Nifti1Image(array, space.affine.numpy())
    image.header.set_xyzt_units("mm")
    target.parent.mkdir(parents=True, exist_ok=True)
    ending = ".nii.gz" if target.name.lower().endswith(".gz") else ".nii"
    waiting = target.with_name(f".{target.name}.{os.getpid()}.part{ending}")
    try:
        nibabel.save(image, waiting)
        os.replace(waiting, target)
    finally:
        waiting.unlink(missing_ok=True)
    return target


def _whole(values: Tensor) -> type[np.generic]:
    """The smallest of NIfTI's common types that holds these whole numbers."""
    if values.dtype in (torch.bool, torch.uint8):
        return np.uint8
    return np.int16 if values.numel() == 0 or int(values.abs().max()) < 2**15 else np.int32
