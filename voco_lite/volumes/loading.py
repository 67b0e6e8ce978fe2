"""Reading a scan: which reader a path needs, its labels, and its way into RAS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from torch import Tensor

from voco_lite.config import VolumeConfig
from voco_lite.volumes.dicom import read_series
from voco_lite.volumes.nifti import read_nifti
from voco_lite.volumes.preparing import prepare, to_ras
from voco_lite.volumes.scan import ADVICE, NIFTI_ENDINGS, Scan, require_finite
from voco_lite.volumes.volume import Space, Volume, require_affine

LARGEST_LABEL = 2**15 - 1
_SAME_MM = 0.01


def load_volume(
    path: str | Path,
    config: VolumeConfig | None = None,
    labels: str | Path | None = None,
    label_names: dict[int, str] | None = None,
    series: str | None = None,
) -> Volume:
    """Read a scan into RAS, and prepare it when a configuration is given.

    Args:
        path: A NIfTI file, or the folder of a DICOM series.
        config: How it is prepared; None: RAS, in the file's own intensities and spacing.
        labels: A NIfTI file with organ ids on the grid of the scan.
        label_names: Organ names by id.
        series: SeriesInstanceUID, where the folder holds several series.

    Raises:
        FileNotFoundError: There is nothing at this path.
        ValueError: The scan cannot be used; the message names the file, what is wrong and what to do.
    """
    path = Path(path).expanduser()
    scan = read_scan(path, series)
    affine, source = torch.from_numpy(scan.affine), str(path)
    require_affine(affine, source)
    data = _as_floats(scan.array, source)
    turned, ras = to_ras(data[None], affine)
    volume = Volume(
        data=turned,
        affine=ras,
        source=source,
        units=scan.units,
        label_names=dict(label_names or {}),
        attributes=scan.attributes,
        original=Space(affine, (data.shape[0], data.shape[1], data.shape[2])),
    )
    if labels is not None:
        volume = replace(volume, labels=_read_labels(Path(labels).expanduser(), volume))
    return volume if config is None else prepare(volume, config)


def read_scan(path: Path, series: str | None = None) -> Scan:
    """A file's voxels and where they lie.

    Raises:
        FileNotFoundError: There is nothing at this path.
        ValueError: The file cannot be used.
    """
    if path.is_dir():
        return read_series(path, series)
    if not path.is_file():
        link = " It is a link whose target is missing or leads back to itself: replace it." if path.is_symlink() else ""
        raise FileNotFoundError(f"There is no file {path}.{link} {ADVICE}")
    if path.name.lower().endswith(NIFTI_ENDINGS):
        return read_nifti(path)
    more = "one slice, which has no depth. Give its folder" if path.suffix.lower() == ".dcm" else f"{path.name}"
    raise ValueError(f"{path} must be a scan that can be read, got {more}. {ADVICE}")


def _as_floats(array: Shaped[ndarray, "x y z"], source: str) -> Float[Tensor, "x y z"]:
    """float32 in the machine's byte order, every voxel finite."""
    data = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    require_finite(data, source)
    return data


def _read_labels(path: Path, volume: Volume) -> Int[Tensor, "x y z"]:
    """Organ ids on the grid of the volume; the files may store it with other axes."""
    found = read_scan(path)
    affine = torch.from_numpy(found.affine)
    require_affine(affine, str(path))
    ids = np.asarray(found.array)
    if not np.array_equal(ids, np.round(ids)) or ids.min() < 0 or ids.max() > LARGEST_LABEL:
        raise ValueError(
            f"The labels {path} must be whole numbers from 0 to {LARGEST_LABEL}, got {ids.min():g} to {ids.max():g}. "
            "Give the label map, not the scan."
        )
    kind = np.uint8 if ids.max() < 256 else np.int16
    turned, ras = to_ras(torch.from_numpy(np.ascontiguousarray(ids, dtype=kind))[None], affine)
    labels = turned[0]
    apart = float((ras - volume.affine).abs().max())
    if tuple(labels.shape) != volume.shape or apart > _SAME_MM:
        raise ValueError(
            f"The labels {path} must lie on the grid of the scan, {volume.shape} voxels, got {tuple(labels.shape)} and "
            f"an affine that differs by {apart:.3g}. Resample them to the scan, each voxel from its nearest."
        )
    return labels
