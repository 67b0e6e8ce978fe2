"""From a NIfTI file or a DICOM series to a prepared volume: RAS, spacing in mm, intensity window, foreground, size."""

from __future__ import annotations

from voco_lite.volumes.folder import VolumeFolder, find_scans, load_volumes
from voco_lite.volumes.loading import load_volume
from voco_lite.volumes.preparing import WINDOWS, prepare
from voco_lite.volumes.saving import save_map, save_volume
from voco_lite.volumes.scan import VOXEL_LIMIT
from voco_lite.volumes.volume import Space, Volume

__all__ = [
    "VOXEL_LIMIT",
    "WINDOWS",
    "Space",
    "Volume",
    "VolumeFolder",
    "find_scans",
    "load_volume",
    "load_volumes",
    "prepare",
    "save_map",
    "save_volume",
]
