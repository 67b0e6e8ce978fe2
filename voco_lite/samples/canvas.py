"""Drawing in HU on a grid in mm: soft-edged bodies given by their distance, tubes along curves, smooth noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.interpolate import PchipInterpolator

from voco_lite.samples.draws import Draws

Point = tuple[float, float, float]


class Canvas:
    """A grid that shapes are painted on, later ones over earlier ones.

    Args:
        low: Lower corner in RAS mm.
        high: Upper corner in RAS mm.
        spacing: Voxel size in mm.
        background: HU everywhere at the start.
    """

    def __init__(self, low: Point, high: Point, spacing: float, background: float) -> None:
        self.spacing, self.low = spacing, np.asarray(low)
        self.size = tuple(round((b - a) / spacing) for a, b in zip(low, high, strict=True))
        self.first = self.low + spacing / 2
        x, y, z = (
            np.float32(f) + np.float32(spacing) * np.arange(n, dtype=np.float32)
            for f, n in zip(self.first, self.size, strict=True)
        )
        self._straight = (x[:, None, None], y[None, :, None], z[None, None, :])
        self.x, self.y, self.z = (np.broadcast_to(a, self.size).astype(np.float32) for a in self._straight)
        self._sway = np.zeros((3, *self.size), dtype=np.float32)
        self.hu = np.full(self.size, background, dtype=np.float32)
        self.labels = np.zeros(self.size, dtype=np.uint8)
        self.grain = np.zeros(self.size, dtype=np.float32)  # texture of marrow, the same for all bones
        self._draws = Draws(0, "torso")

    def sway(self, width: float, amounts: Point) -> None:
        """Bend space, so that nothing drawn from now on is a perfect ellipsoid or a straight tube."""
        self._sway = np.stack([amount * self.noise(width) for amount in amounts])
        x, y, z = self._straight
        self.x, self.y, self.z = x + self._sway[0], y + self._sway[1], z + self._sway[2]

    def noise(self, width: float) -> Float[ndarray, "x y z"]:
        """Smooth noise of about unit deviation that varies over ``width`` mm."""
        cells = [int(np.ceil(n * self.spacing / width)) + 2 for n in self.size]
        coarse = torch.from_numpy(self._draws.normal(1, 1, *cells)).float()
        middle = F.interpolate(coarse, size=[2 * n for n in cells], mode="trilinear", align_corners=True)
        middle = F.avg_pool3d(F.pad(middle, (1,) * 6, mode="replicate"), 3, stride=1)
        smooth = F.interpolate(middle, size=list(self.size), mode="trilinear", align_corners=True)[0, 0].numpy()
        return np.asarray(smooth / 0.45)

    def threads(self, width: float, thickness: float) -> Float[ndarray, "x y z"]:
        """1 on a random network of thin curves, 0 off it: where two smooth noises are both 0."""
        distance = np.sqrt(self.noise(width) ** 2 + self.noise(width) ** 2) * width / 2
        return np.asarray(np.clip(1.5 - distance / thickness, 0, 1))

    def fill(
        self,
        distance: Float[ndarray, "x y z"],
        hu: float | Float[ndarray, "x y z"],
        label: int | None = None,
        where: Bool[ndarray, "x y z"] | None = None,
    ) -> None:
        """Paint where ``distance`` (mm) is below 0; the border voxel is mixed. ``label`` None keeps the labels."""
        inside = distance < self.spacing / 2
        if where is not None:
            inside &= where
        spans = [np.flatnonzero(inside.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
        if not spans[0].size:
            return
        box = tuple(slice(span[0], span[-1] + 1) for span in spans)
        share = np.clip(0.5 - distance[box] / self.spacing, 0, 1) * inside[box]
        value = hu if isinstance(hu, int | float) else hu[box]
        self.hu[box] += (share * (value - self.hu[box])).astype(np.float32)
        if label is not None:
            self.labels[box][share > 0.5] = label

    def ellipsoid(self, center: Point, radii: Point, tilt: float = 0.0) -> Float[ndarray, "x y z"]:
        """About the distance to an ellipsoid, cut off at 50 mm; ``tilt`` in degrees turns it in the coronal plane."""
        turn, far = np.deg2rad(tilt), 50.0
        longest = max(radii[0], radii[2])
        reach = np.array([longest, radii[1], longest]) + far
        start = np.maximum((np.asarray(center) - reach - self.first) // self.spacing, 0).astype(int)
        stop = np.minimum((np.asarray(center) + reach - self.first) // self.spacing + 2, self.size).astype(int)
        box = tuple(slice(a, max(a, b)) for a, b in zip(start, stop, strict=True))
        x, z = self.x[box] - np.float32(center[0]), self.z[box] - np.float32(center[2])
        y, cos, sin = self.y[box] - np.float32(center[1]), np.float32(np.cos(turn)), np.float32(np.sin(turn))
        size = np.sqrt(
            ((x * cos + z * sin) / radii[0]) ** 2 + (y / radii[1]) ** 2 + ((z * cos - x * sin) / radii[2]) ** 2
        )
        distance = np.full(self.size, far, dtype=np.float32)
        distance[box] = np.minimum((size - 1) * min(radii), far)
        return distance

    def tube(
        self, path: Sequence[Point], radii: Sequence[float] | float, flat: Point = (1, 1, 1)
    ) -> Float[ndarray, "x y z"]:
        """Distance to a tube along a smooth curve; ``flat`` stretches the axes. Far away it is only known to be > 0."""
        return self.tubes([(path, radii)], flat)

    def tubes(
        self, parts: Sequence[tuple[Sequence[Point], Sequence[float] | float]], flat: Point = (1, 1, 1)
    ) -> Float[ndarray, "x y z"]:
        """Distance to a union of tubes."""
        curves = [smooth_curve(path, radii, self.spacing * 0.7) for path, radii in parts]
        return self.stamp(np.concatenate([c[0] for c in curves]), np.concatenate([c[1] for c in curves]), flat)

    def stamp(
        self, points: Float[ndarray, "n 3"], radii: Float[ndarray, "n"], flat: Point = (1, 1, 1)
    ) -> Float[ndarray, "x y z"]:
        """Distance to a union of balls, exact within 3 voxels of it."""
        far = 3 * self.spacing
        distance = np.full(self.size, far, dtype=np.float32)
        stretch = np.asarray(flat, dtype=float)
        voxels = ((points - self.first) / self.spacing).round().astype(int).clip(0, np.array(self.size) - 1)
        bent = points - self._sway[:, voxels[:, 0], voxels[:, 1], voxels[:, 2]].T
        x, y, z = self._straight
        for point, radius in zip(bent, radii, strict=True):
            reach = (radius + far) * stretch
            start = np.maximum(np.ceil((point - reach - self.first) / self.spacing), 0).astype(int)
            stop = np.minimum(np.floor((point + reach - self.first) / self.spacing) + 1, self.size).astype(int)
            if (stop <= start).any():
                continue
            box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
            dx = (x[box[0]] - point[0]) / stretch[0]
            dy = (y[:, box[1]] - point[1]) / stretch[1]
            dz = (z[..., box[2]] - point[2]) / stretch[2]
            np.minimum(distance[box], np.sqrt(dx**2 + dy**2 + dz**2) - radius, out=distance[box])
        return distance


def smooth_curve(
    path: Sequence[Point], radii: Sequence[float] | float, step: float
) -> tuple[Float[ndarray, "n 3"], Float[ndarray, "n"]]:
    """Points every ``step`` mm along a curve through ``path``, and the radius at each."""
    knots = np.asarray(path, dtype=float)
    widths = np.full(len(knots), float(radii)) if isinstance(radii, int | float) else np.asarray(radii, dtype=float)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    places = np.linspace(0, along[-1], max(2, int(along[-1] / step)))
    return PchipInterpolator(along, knots)(places), PchipInterpolator(along, widths)(places)


def blend(a: Float[ndarray, "..."], b: Float[ndarray, "..."], width: float) -> Float[ndarray, "..."]:
    """Smooth union of two distances: the crease is rounded over ``width`` mm."""
    mix = np.clip(0.5 + 0.5 * (b - a) / width, 0, 1)
    return np.asarray(b + mix * (a - b) - width * mix * (1 - mix))


def carve(a: Float[ndarray, "..."], b: Float[ndarray, "..."], width: float) -> Float[ndarray, "..."]:
    """What is in a and not in b, with a rounded crease."""
    return -blend(-a, b, width)


def common(a: Float[ndarray, "..."], b: Float[ndarray, "..."], width: float) -> Float[ndarray, "..."]:
    """What is in a and in b, with a rounded crease."""
    return -blend(-a, -b, width)
