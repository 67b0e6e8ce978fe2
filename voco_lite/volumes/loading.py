"""Reading a scan: which reader a path needs, its labels, and its way into RAS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy import ndarray
from torch import Tensor

from voco_lite.config import VolumeConfig
from voco_lite.volumes.dicom import read_series
from voco_lite.volumes.nifti import read_nifti
from voco_lite.volumes.preparing import prepare, to_ras
from voco_lite.volumes.scan import ADVICE, NIFTI_ENDINGS, Scan, require_finite
from voco_lite.volumes.volume import Space, Volume, require_affine


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
    ids = _read_labels(Path(labels).expanduser(), scan) if labels is not None else None
    original = Space(affine, (data.shape[0], data.shape[1], data.shape[2]))
    turned, ras = to_ras(data[None], affine)
    volume = Volume(
        data=turned,
        affine=ras,
        source=source,
        units=scan.units,
        labels=None if ids is None else to_ras(ids[None], affine)[0][0],
        label_names=dict(label_names or {}),
        attributes=scan.attributes,
        original=original,
    )
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


def _read_labels(path: Path, scan: Scan) -> Tensor:
    """Organ ids on the grid of the scan."""
    found = read_scan(path)
    apart = np.abs(found.affine - scan.affine).max() if found.array.shape == scan.array.shape else np.inf
    if apart > 1e-2:
        raise ValueError(
            f"The labels {path} must lie on the grid of the scan, shape {scan.array.shape}, got {found.array.shape}"
            f"{'' if np.isinf(apart) else f' with an affine that differs by {apart:.3g} mm'}. "
            "Resample them to the scan with nearest neighbours."
        )
    ids = np.asarray(found.array)
    if not np.array_equal(ids, np.round(ids)) or ids.min() < 0 or ids.max() > 2**15 - 1:
        raise ValueError(
            f"The labels {path} must be whole numbers from 0 to {2**15 - 1}, got {ids.min()} to {ids.max()}. "
            "Give the label map, not the scan."
        )
    return torch.from_numpy(np.ascontiguousarray(ids, dtype=np.uint8 if ids.max() < 256 else np.int16))
