"""From the label map of a scan to the classes that a network learns."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import torch
from jaxtyping import UInt8
from torch import Tensor

from voco_lite.volumes import Volume

MOST = 255


def organ_classes(volume: Volume, organs: Sequence[str]) -> UInt8[Tensor, "x y z"]:
    """Class of every voxel: 1 for the first organ and so on, 0 for everything else.

    Args:
        volume: With labels and their names.
        organs: Names, as in `volume.label_names`.

    Raises:
        ValueError: No labels, or an organ that no label is named after.
    """
    if volume.labels is None:
        raise ValueError(f"{volume.source} must have labels to learn from, got none. Load it with its label map.")
    ids = {name: number for number, name in volume.label_names.items()}
    unknown = [organ for organ in organs if organ not in ids]
    if unknown:
        near = get_close_matches(unknown[0], ids, n=3, cutoff=0.4) or sorted(ids)[:5]
        raise ValueError(
            f"organs must be names of {volume.source}'s labels, got {unknown[0]!r}. Near: {', '.join(near)}."
        )
    table = torch.zeros(max(int(volume.labels.max()), *ids.values()) + 1, dtype=torch.uint8)
    for number, organ in enumerate(organs, start=1):
        table[ids[organ]] = number
    return table[volume.labels.long()]


def require_organs(organs: Sequence[str]) -> None:
    """Raise ValueError unless there is an organ, none twice, and few enough for a byte."""
    if not 1 <= len(organs) <= MOST or len(set(organs)) < len(organs):
        raise ValueError(
            f"organs must be 1 to {MOST} different names, got {tuple(organs)}. Name each structure once, such as liver."
        )
