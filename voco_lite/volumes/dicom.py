"""DICOM series: one folder of slices becomes one scan on an even grid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from voco_lite.volumes.scan import Scan, require_shape

_DEFLATED = "1.2.840.10008.1.2.1.99"
_SAME_MM = 1e-2
_UNEVEN = 0.05  # largest deviation of a slice's place, as a share of the distance between slices


def is_dicom(path: Path) -> bool:
    """Whether a file says that it is DICOM, by its name or its first bytes."""
    ending = path.suffix.lower()
    if ending == ".dcm":
        return True
    # Scanners name slices without an ending, .IMA, or by a UID, whose last number looks like an ending.
    if not (ending in ("", ".ima") or ending[1:].isdecimal()) or not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def read_series(folder: Path, series: str | None = None) -> Scan:
    """The slices of a series in order, scaled by each slice's rescale slope and intercept.

    Args:
        folder: Where its files lie; files of other kinds are passed over.
        series: SeriesInstanceUID, where the folder holds several.

    Raises:
        ValueError: No series or several, or slices that do not make an even grid of one number per voxel.
    """
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and is_dicom(path)]
    if not files:
        raise ValueError(
            f"{folder} must hold the slices of a DICOM series, got none. "
            "Give the folder that holds them itself; for a folder of scans use load_volumes."
        )
    slices = _one_series([_read_header(path) for path in files], folder, series)
    first = slices[0]
    for header in slices:
        _require_slice(header, first)
    slices, affine = _grid(slices, folder)
    require_shape((int(first.Columns), int(first.Rows), len(slices)), folder)
    array = np.stack([_pixels(header) for header in slices], axis=-1)
    modality = str(first.get("Modality", ""))
    return Scan(array, affine, "HU" if modality == "CT" else "stored", {"modality": modality})


def _read_header(path: Path) -> Any:
    """Everything but the pixels."""
    import pydicom

    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        if str(meta.get("TransferSyntaxUID", "")) == _DEFLATED:
            raise ValueError("a deflated file, whose size cannot be known before it is read")
        return pydicom.dcmread(path, stop_before_pixels=True)
    except Exception as error:  # pydicom raises errors of many kinds on broken files
        raise ValueError(
            f"{path} must be a DICOM file, got: {error or type(error).__name__}. "
            "Export it again, or convert the series to NIfTI with dcm2niix."
        ) from error


def _one_series(headers: Sequence[Any], folder: Path, series: str | None) -> list[Any]:
    found = defaultdict(list)
    for header in headers:
        found[str(header.get("SeriesInstanceUID", ""))].append(header)
    if series is None and len(found) > 1:
        listed = "; ".join(f"{uid} ({len(group)} files)" for uid, group in found.items())
        raise ValueError(
            f"{folder} must hold one DICOM series, got {len(found)}: {listed}. "
            "Put each into a folder of its own, or name one: load_volume(folder, series=…)."
        )
    if series is not None and series not in found:
        raise ValueError(f"series must be one of {', '.join(found)} in {folder}, got {series!r}. Take one of these.")
    return found[series] if series is not None else next(iter(found.values()))


def _require_slice(header: Any, first: Any) -> None:
    """Raise ValueError unless a slice is grey and lies parallel to the first, with the same pixels."""
    path, advice = header.filename, "Convert the series to NIfTI with dcm2niix."
    missing = [tag for tag in ("Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
               if not header.get(tag)]  # fmt: skip
    if missing:
        kind = "frames of an enhanced file" if "NumberOfFrames" in header else f"none of {', '.join(missing)}"
        raise ValueError(f"{path} must say where its one slice lies, got {kind}. {advice}")
    if int(header.get("SamplesPerPixel", 1)) != 1 or int(header.get("NumberOfFrames", 1) or 1) != 1:
        raise ValueError(f"{path} must hold one slice with one number per pixel, got colours or frames. {advice}")
    for tag in ("Rows", "Columns", "ImageOrientationPatient", "PixelSpacing"):
        own, others = np.array(header[tag].value, dtype=float), np.array(first[tag].value, dtype=float)
        if not np.isfinite(own).all() or not np.allclose(own, others, atol=1e-3):
            raise ValueError(
                f"All slices must have the same {tag}, got {own.tolist()} in {path} and {others.tolist()} in "
                f"{first.filename}. Take out the slices that belong to another image. {advice}"
            )


def _grid(slices: Sequence[Any], folder: Path) -> tuple[list[Any], Float[ndarray, "4 4"]]:
    """The slices in order of place, and their affine. DICOM counts mm toward the patient's left and back."""
    along_row, along_column = np.array(slices[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    normal = np.cross(along_row, along_column)
    places = np.array([header.ImagePositionPatient for header in slices], dtype=float)
    order = np.argsort(places @ normal, kind="stable")
    places, heights = places[order], (places @ normal)[order]
    gaps = np.diff(heights)
    if len(gaps) == 0 or gaps.min() < _SAME_MM:
        got = "one slice" if len(gaps) == 0 else "two slices at one place"
        raise ValueError(
            f"The slices in {folder} must lie at two or more places, each once, got {got}. "
            "Take out repeated slices or further time points."
        )
    step = (places[-1] - places[0]) / (len(places) - 1)
    even = places[0] + step * np.arange(len(places))[:, None]
    if np.abs(places - even).max() > max(_UNEVEN * np.linalg.norm(step), _SAME_MM):
        raise ValueError(
            f"The slices in {folder} must be evenly spaced, got gaps of {gaps.min():.2f} to {gaps.max():.2f} mm. "
            "A slice is missing or lies elsewhere: export the series again."
        )
    row_mm, column_mm = np.array(slices[0].PixelSpacing, dtype=float)  # between rows, between columns
    affine = np.eye(4)
    affine[:3] = np.stack([along_row * column_mm, along_column * row_mm, step, places[0]], axis=1)
    return [slices[i] for i in order], np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _pixels(header: Any) -> Shaped[ndarray, "x y"]:
    """One slice in real units, columns first."""
    import pydicom

    try:
        pixels = np.asarray(pydicom.dcmread(header.filename).pixel_array)
    except Exception as error:  # pydicom and its decoders raise errors of many kinds
        raise ValueError(
            f"{header.filename} must hold pixels that can be decoded, got: {error or type(error).__name__}. "
            "Export it again without compression, or convert the series to NIfTI with dcm2niix."
        ) from error
    slope, intercept = (float(header.get(tag, default) or default)
                        for tag, default in (("RescaleSlope", 1), ("RescaleIntercept", 0)))  # fmt: skip
    return pixels.T.astype(np.float32) * np.float32(slope) + np.float32(intercept)
