"""Prepared volumes kept on disk, one file each."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from voco_lite.config import VolumeConfig
from voco_lite.volumes.volume import Space, Volume

_VERSION = 1  # raise it when the same scan and configuration give another prepared volume


def read_entry(cache: Path, scan: Path, config: VolumeConfig) -> Volume | None:
    """The prepared volume of a scan; None when it is absent, broken, or the scan has changed since."""
    try:
        with np.load(_entry(cache, scan, config), allow_pickle=False) as stored:
            return _unpack({name: stored[name] for name in stored.files}, str(scan))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def write_entry(cache: Path, scan: Path, config: VolumeConfig, volume: Volume) -> None:
    """Put a prepared volume into the cache, whole or not at all; a full or read-only disk is warned about."""
    path = _entry(cache, scan, config)
    waiting = path.with_name(f".{path.name}.{os.getpid()}.part")
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
    files = sorted(scan.iterdir()) if scan.is_dir() else [scan]
    stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    text = json.dumps([_VERSION, os.path.abspath(scan), stamps, asdict(config)], sort_keys=True)
    return cache / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"


def _pack(volume: Volume) -> dict[str, ndarray]:
    original = volume.original or volume.space
    arrays = {"data": volume.data.numpy(), "affine": volume.affine.numpy(), "original": original.affine.numpy()}
    rest = {"shape": original.shape, "units": volume.units, "attributes": volume.attributes}
    return {**arrays, "rest": np.array(json.dumps(rest))}


def _unpack(arrays: dict[str, Any], source: str) -> Volume:
    rest = json.loads(str(arrays["rest"]))
    x, y, z = rest["shape"]
    return Volume(
        data=torch.from_numpy(arrays["data"]),
        affine=torch.from_numpy(arrays["affine"]),
        source=source,
        units=rest["units"],
        attributes=rest["attributes"],
        original=Space(torch.from_numpy(arrays["original"]), (x, y, z)),
    )
