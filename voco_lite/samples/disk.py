"""Arrays kept in the data folder, so that what was made once is not made again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy import ndarray

from voco_lite.samples.store import data_folder

CACHE_BYTES = 2 * 2**30  # room for some 700 subjects of 96^3


@cache
def code_version() -> str:
    """Changes whenever the code that makes samples changes."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def read_arrays(name: str) -> dict[str, ndarray] | None:
    """Arrays of an entry of the cache; None when it is absent or broken."""
    try:
        with np.load(_path(name), allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def write_arrays(name: str, arrays: dict[str, ndarray]) -> None:
    """Put an entry into the cache, whole or not at all; a folder that cannot be written is done without."""
    path = _path(name)
    waiting = path.with_name(f".{path.stem}.{os.getpid()}.part.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with waiting.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        os.replace(waiting, path)
        _forget_oldest(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            waiting.unlink()


def _forget_oldest(folder: Path) -> None:
    """Delete what was written longest ago until the cache is small enough."""
    entries = sorted(((path.stat().st_mtime, path) for path in folder.glob("*.npz")), reverse=True)
    total = 0
    for _, path in entries:
        total += path.stat().st_size
        if total > CACHE_BYTES:
            path.unlink(missing_ok=True)


def _path(name: str) -> Path:
    return data_folder() / "cache" / f"{name}.npz"
