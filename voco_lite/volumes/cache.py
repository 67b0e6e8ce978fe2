"""Prepared volumes kept on disk, one file each, for all runs that prepare the same scan in the same way.

Intensities of a window lie in [0, 1] and are kept as whole numbers from 0 to 65535, exact at both ends and within
0.012 HU in the widest window that has a name; other intensities are kept as they are. Entries are not compressed: on a
real CT that would spare a third of the bytes, and reading would take ten times as long.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import uuid
import warnings
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt16
from numpy import ndarray
from torch import Tensor

from voco_lite.config import VolumeConfig
from voco_lite.volumes.volume import Space, Volume

_STEPS = 2**16 - 1  # of prepared intensity, from 0 to 1
_VERSION = 2  # raise it when the same scan and configuration give another prepared volume, or another file
# What a damaged archive raises, depending on where it is damaged.
_BROKEN = (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile)


def kept_bytes(config: VolumeConfig) -> int:
    """Bytes that a voxel takes in the cache."""
    return 4 if config.intensity == "none" else 2


def as_kept(volume: Volume) -> Volume:
    """The volume as the cache gives it back, so that a run sees the same whether it finds entries or makes them."""
    return replace(volume, data=_from_steps(_to_steps(volume.data))) if volume.units == "prepared" else volume


def read_entry(cache: Path, scan: Path, config: VolumeConfig) -> Volume | None:
    """The prepared volume of a scan; None when it is absent, broken, or the scan has changed since."""
    try:
        with np.load(_entry(cache, scan, config), allow_pickle=False) as stored:
            return _unpack({name: stored[name] for name in stored.files}, str(scan))
    except _BROKEN:
        return None


def write_entry(cache: Path, scan: Path, config: VolumeConfig, volume: Volume) -> None:
    """Put a prepared volume into the cache, whole or not at all; a full or read-only disk is warned about."""
    path = _entry(cache, scan, config)
    waiting = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")  # runs on several machines may share the cache
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with waiting.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **_pack(volume))
        os.replace(waiting, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            waiting.unlink()
        warnings.warn(
            f"Prepared volumes cannot be kept in {cache} ({error.strerror}): each is prepared again whenever it is "
            "drawn, which is slow. Make room, or give another cache folder.",
            stacklevel=3,
        )


def _entry(cache: Path, scan: Path, config: VolumeConfig) -> Path:
    """The entry's file: its name changes with the scan's place, size and date, and with the configuration."""
    files = sorted(file for file in scan.iterdir() if file.is_file()) if scan.is_dir() else [scan]
    stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    text = json.dumps([_VERSION, os.path.abspath(scan), stamps, asdict(config)], sort_keys=True)
    return cache / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"


def _pack(volume: Volume) -> dict[str, ndarray]:
    original = volume.original or volume.space
    data = _to_steps(volume.data) if volume.units == "prepared" else volume.data.numpy()
    arrays = {"data": data, "affine": volume.affine.numpy(), "original": original.affine.numpy()}
    rest = {"shape": original.shape, "units": volume.units, "attributes": volume.attributes}
    return {**arrays, "rest": np.array(json.dumps(rest))}


def _unpack(arrays: dict[str, Any], source: str) -> Volume:
    rest, data = json.loads(str(arrays["rest"])), arrays["data"]
    x, y, z = rest["shape"]
    return Volume(
        data=_from_steps(data) if rest["units"] == "prepared" else torch.from_numpy(data),
        affine=torch.from_numpy(arrays["affine"]),
        source=source,
        units=rest["units"],
        attributes=rest["attributes"],
        original=Space(torch.from_numpy(arrays["original"]), (x, y, z)),
    )


def _to_steps(data: Float[Tensor, "*shape"]) -> UInt16[ndarray, "*shape"]:
    return (data.clamp(0, 1) * _STEPS).round().numpy().astype(np.uint16)


def _from_steps(steps: UInt16[ndarray, "*shape"]) -> Float[Tensor, "*shape"]:
    return torch.from_numpy(steps.astype(np.float32)).div_(_STEPS)
