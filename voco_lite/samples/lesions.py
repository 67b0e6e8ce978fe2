"""Lesions that are put into a subject's organs, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from voco_lite.samples.draws import Draws
from voco_lite.samples.sources import Level, Source

if TYPE_CHECKING:
    from voco_lite.samples.warps import Warp

KINDS: dict[str, tuple[float, float]] = {"hypodense": (-75.0, -45.0), "hyperdense": (45.0, 90.0)}
LUNG_KIND = ("nodule", (650.0, 800.0))
RADIUS_MM = (6.0, 20.0)
EDGE_MM = 2.0


@dataclass(frozen=True, eq=False)
class Lesion:
    """An ellipsoid inside one organ, in the source; the warp bends it with the organ.

    Attributes:
        organ: Name of the organ it lies in; it never leaves it.
        kind: "hypodense", "hyperdense" or, in a lung, "nodule".
        center: RAS mm in the source.
        radii: Along x, y, z in mm in the source.
        contrast_hu: Difference to the organ around it.
    """

    organ: str
    kind: str
    center: Float[ndarray, "3"]
    radii: Float[ndarray, "3"]
    contrast_hu: float

    def paint(self, hu: Float[ndarray, "x y z"], source: Source, level: Level) -> None:
        """Add it to a source in HU, in place."""
        low = np.floor((self.center - self.radii - EDGE_MM - level.first) / level.spacing).astype(int)
        high = np.ceil((self.center + self.radii + EDGE_MM - level.first) / level.spacing).astype(int) + 1
        box = tuple(slice(max(a, 0), min(b, n)) for a, b, n in zip(low, high, hu.shape, strict=True))
        axes = [np.arange(s.start, s.stop) * p + f for s, p, f in zip(box, level.spacing, level.first, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
        inside = source.labels_at(torch.from_numpy(points)).numpy() == source.ids[self.organ]
        hu[box] += self.contrast_hu * inside * np.clip(0.5 - self.distance(points) / EDGE_MM, 0, 1)

    def distance(self, points: Float[ndarray, "*grid 3"]) -> Float[ndarray, "*grid"]:
        """About the distance in mm to its surface, negative inside."""
        size = np.linalg.norm((points - self.center) / self.radii, axis=-1)
        return np.asarray((size - 1) * self.radii.min())


def draw_lesions(source: Source, seed: int, most: int = 3) -> tuple[Lesion, ...]:
    """None to ``most`` lesions, each deep enough in its organ to hold most of it."""
    draws = Draws(seed, "lesions")
    lesions: list[Lesion] = []
    for _ in range(int(draws.uniform(0, most + 1))):
        organ = draws.choose(source.lesion_organs)
        radius, share = draws.uniform(*RADIUS_MM), draws.uniform(0, 1)
        stretch = np.exp(0.2 * draws.normal(3).clip(-1.5, 1.5))
        kind, span = draws.choose([*KINDS.items()]) if not organ.startswith("lung") else LUNG_KIND
        contrast = draws.uniform(*span)
        depth, first = source.depth(organ)
        radius = min(radius, 0.9 * float(depth.max()))
        sites = np.argwhere(depth >= 0.85 * radius)
        center = sites[int(share * len(sites))] * source.spacing + first
        radii = radius * stretch / stretch.max()
        apart = all(np.linalg.norm(center - other.center) > radius + other.radii.max() for other in lesions)
        if apart and radius >= 4.0:
            lesions.append(Lesion(organ, kind, center, radii, contrast))
    return tuple(lesions)


def describe(lesion: Lesion, source: Source, warp: Warp) -> dict[str, Any]:
    """The lesion in the subject, as plain JSON values: organ, side, centre in RAS mm, size in mm, contrast in HU."""
    ends = np.concatenate([lesion.center + np.diag(lesion.radii), lesion.center - np.diag(lesion.radii)])
    moved = warp.from_source(torch.from_numpy(np.concatenate([ends, lesion.center[None]]))).numpy()
    extent = np.linalg.norm(moved[:3] - moved[3:6], axis=-1)
    return {
        "organ": lesion.organ,
        "label": source.ids[lesion.organ],
        "kind": lesion.kind,
        "side": "right" if lesion.center[0] > source.midline_mm else "left",
        "size_mm": round(float(extent.max()), 1),
        "contrast_hu": round(lesion.contrast_hu, 1),
        "center_mm": [round(float(c), 2) for c in moved[6]],
    }


def mark(lesions: tuple[Lesion, ...], source: Source, inner: Float[Tensor, "x y z 3"]) -> Int[Tensor, "x y z"]:
    """Number of the lesion at every point of the source, from 1; 0 where there is none."""
    marked = torch.zeros(inner.shape[:-1], dtype=torch.uint8)
    labels = source.labels_at(inner)
    for number, lesion in enumerate(lesions, start=1):
        inside = torch.from_numpy(lesion.distance(inner.numpy())) < 0
        marked[inside & (labels == source.ids[lesion.organ])] = number
    return marked
