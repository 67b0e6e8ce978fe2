"""Rendered subjects on disk, so that a second run does not render them again."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from voco_lite.samples.store import data_folder
from voco_lite.samples.subjects import RECIPE_VERSION, Recipe, render

Rendered = tuple[Float[Tensor, "x y z"], Int[Tensor, "x y z"], dict[str, Any]]


def cached_render(recipe: Recipe, size: tuple[int, int, int] | None) -> Rendered:
    """A subject from the cache, else rendered and put there; a cache that cannot be written is done without."""
    path = data_folder() / "cache" / f"{_key(recipe, size)}.npz"
    found = _read(path)
    if found is None:
        found = render(recipe, size)
        _write(path, found)
    return found


def _key(recipe: Recipe, size: tuple[int, int, int] | None) -> str:
    """Everything that decides the voxels, as a short name."""
    parts = [RECIPE_VERSION, recipe.origin.version, asdict(recipe), size]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"{recipe.source}-{recipe.seed}-{digest[:16]}"


def _read(path: Path) -> Rendered | None:
    """None when it is absent or broken."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            hu = torch.from_numpy(stored["hu"]).float()
            return hu, torch.from_numpy(stored["labels"]), json.loads(str(stored["attributes"]))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def _write(path: Path, rendered: Rendered) -> None:
    hu, labels, attributes = rendered
    waiting = path.with_name(f".{path.stem}.{os.getpid()}.part.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = np.array(json.dumps(attributes))
        np.savez(waiting, hu=hu.numpy().astype(np.int16), labels=labels.numpy(), attributes=text)
        os.replace(waiting, path)
    except OSError:
        waiting.unlink(missing_ok=True)
