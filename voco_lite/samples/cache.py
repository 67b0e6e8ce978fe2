"""Rendered subjects kept on disk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import numpy as np
import torch

from voco_lite.samples.disk import code_version, read_arrays, write_arrays
from voco_lite.samples.subjects import Recipe, Rendered, render


def cached_render(recipe: Recipe, size: tuple[int, int, int] | None) -> Rendered:
    """A subject from the cache, else rendered and put there."""
    name = _key(recipe, size)
    if (found := read_arrays(name)) is not None and set(found) == {"hu", "labels", "attributes"}:
        hu, labels = torch.from_numpy(found["hu"]).float(), torch.from_numpy(found["labels"])
        return hu, labels, json.loads(str(found["attributes"]))
    hu, labels, attributes = render(recipe, size)
    text = np.array(json.dumps(attributes))
    write_arrays(name, {"hu": hu.numpy().astype(np.int16), "labels": labels.numpy(), "attributes": text})
    return hu, labels, attributes


def _key(recipe: Recipe, size: tuple[int, int, int] | None) -> str:
    """Everything that decides the voxels, as a short name."""
    parts = [code_version(), recipe.origin.version, asdict(recipe), size]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"{recipe.source}-{recipe.seed}-{digest[:16]}"
