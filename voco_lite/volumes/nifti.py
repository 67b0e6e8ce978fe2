"""NIfTI files: the header is judged before a voxel is read."""

from __future__ import annotations

import gzip
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from voco_lite.volumes.scan import Scan, require_shape
from voco_lite.volumes.volume import require_affine

_HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 needs 348
_OFFSET_LIMIT = 64 * 2**20  # bytes before the voxels; beyond it lies nothing that a scan needs
_BROKEN = (OSError, EOFError, zlib.error, ValueError, TypeError, OverflowError, MemoryError, KeyError)


def read_nifti(path: Path) -> Scan:
    """The voxels of a NIfTI file, scaled by its slope and intercept.

    Raises:
        ValueError: Broken, not a scalar 3-D image, too large, or without a usable voxel size.
    """
    import nibabel

    header = _header(path)
    _require_small_offset(header, path)
    _require_scalar(header, path)
    shape = tuple(int(n) for n in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    require_shape(shape, path)
    affine = _affine(header, path)
    try:
        image: Any = nibabel.load(path)
        array = image.get_fdata(dtype=np.float32, caching="unchanged").reshape(shape)
    except (*_BROKEN, nibabel.spatialimages.HeaderDataError, nibabel.filebasedimages.ImageFileError) as error:
        raise ValueError(
            f"{path} must hold all {np.prod(shape):,} voxels that its header promises, got: "
            f"{error or type(error).__name__}. It is cut short or damaged: copy or download it again."
        ) from error
    if not int(header["sform_code"]) and not int(header["qform_code"]):
        warnings.warn(
            f"{path} does not say how it lies in the patient (sform and qform code 0): left and right may be swapped. "
            "Convert it again from its DICOM files, such as with dcm2niix.",
            stacklevel=2,
        )
    return Scan(array, affine)


def _header(path: Path) -> Any:
    """The header, from the first bytes of the file alone."""
    import nibabel

    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            start = stream.read(_HEADER_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path} must be a gzipped NIfTI file, got: {error}. Copy or download it again, "
            "or rename it to .nii when it was never compressed."
        ) from error
    for kind in (nibabel.Nifti1Header, nibabel.Nifti2Header):
        size = kind.template_dtype.itemsize
        if len(start) >= size and kind.may_contain_header(start):
            try:
                return kind(start[:size], check=True)
            except nibabel.spatialimages.HeaderDataError as error:
                raise ValueError(
                    f"{path} must have a sound NIfTI header, got: {error}. Correct it, or convert the scan again."
                ) from error
    got = (
        "an empty file" if not start else "a gzipped file named .nii" if start[:2] == b"\x1f\x8b" else "another format"
    )
    raise ValueError(
        f"{path} must be a NIfTI file, got {got}. "
        + ("Rename it to .nii.gz." if "gzipped" in got else "Convert the scan to NIfTI, such as with dcm2niix.")
    )


def _affine(header: Any, path: Path) -> Float[ndarray, "4 4"]:
    """Voxel index to RAS mm."""
    import nibabel

    try:
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    except (ValueError, nibabel.spatialimages.HeaderDataError) as error:
        raise ValueError(
            f"{path} must say how it lies in the patient, got: {error}. Convert the scan again from its DICOM files."
        ) from error
    require_affine(torch.from_numpy(affine), str(path))
    return affine


def _require_small_offset(header: Any, path: Path) -> None:
    offset = float(header["vox_offset"])
    if not 0 <= offset <= _OFFSET_LIMIT:
        raise ValueError(
            f"The voxels of {path} must begin within the first {_OFFSET_LIMIT:,} bytes, got byte {offset:,.0f}. "
            "The header is damaged: convert the scan again."
        )


def _require_scalar(header: Any, path: Path) -> None:
    kind = header.get_data_dtype()
    if kind.names is not None or kind.kind not in "iuf":
        what = f"colours ({', '.join(kind.names)})" if kind.names else str(kind)
        raise ValueError(
            f"{path} must hold one number per voxel, got {what}. Convert it to grey values, or give the scan itself."
        )
