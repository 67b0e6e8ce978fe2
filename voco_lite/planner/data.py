"""What the prepared volumes of a run need, in memory or on disk."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voco_lite.config import PretrainConfig

if TYPE_CHECKING:
    from voco_lite.volumes import VolumeFolder

_HEADERS = 20  # of a folder, from which the size of all prepared volumes is estimated


@dataclass(frozen=True)
class DataSize:
    """What the prepared volumes of a run need.

    Attributes:
        volumes: Their number.
        bytes: Of all of them.
        on_disk: They lie prepared in a cache and are read when drawn; False: in memory.
        exact: `bytes` follows from the settings; False: estimated from headers, at most that much where the
            foreground is cropped.
    """

    volumes: int
    bytes: int
    on_disk: bool
    exact: bool


def made_data(volumes: int, config: PretrainConfig) -> DataSize | None:
    """Made subjects, which are kept in memory; None: not known before they are made (no fixed size)."""
    if config.volume.size is None:
        return None
    x, y, z = config.volume.size
    return DataSize(volumes, 4 * x * y * z * volumes, on_disk=False, exact=True)


def folder_data(folder: VolumeFolder, config: PretrainConfig) -> DataSize | None:
    """The scans of a folder as a cache keeps them; None: not known before that (DICOM without fixed size)."""
    from voco_lite.volumes.cache import kept_bytes

    each = kept_bytes(config.volume)
    if config.volume.size is not None:
        x, y, z = config.volume.size
        return DataSize(len(folder), each * x * y * z * len(folder), on_disk=True, exact=True)
    paths = folder.paths[:: max(1, len(folder) // _HEADERS)][:_HEADERS]
    sizes = [voxels for path in paths if (voxels := _prepared_voxels(path, config.volume.spacing)) is not None]
    if not sizes:
        return None
    return DataSize(len(folder), round(each * statistics.fmean(sizes) * len(folder)), on_disk=True, exact=False)


def _prepared_voxels(path: Path, spacing: tuple[float, float, float] | None) -> int | None:
    """Voxels of a NIfTI scan after resampling, from its header; None: no readable header."""
    import nibabel

    try:
        image: Any = nibabel.load(path)
        shape, zooms = image.header.get_data_shape()[:3], image.header.get_zooms()[:3]
    except (OSError, ValueError, nibabel.filebasedimages.ImageFileError):
        return None
    voxels = 1
    for length, zoom, turned in zip(shape, zooms, nibabel.io_orientation(image.affine)[:, 0], strict=True):
        # Axes are turned into RAS before they are resampled, from the middle of the first voxel to that of the last.
        voxels *= round((length - 1) * float(zoom) / spacing[int(turned)] + 1) if spacing else length
    return int(voxels)
