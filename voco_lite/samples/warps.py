"""Random changes of shape that can be undone: an affine map after the flow of a smooth velocity field.

The flow of a stationary velocity field is a diffeomorphism, and the flow of its negative is the inverse
(Arsigny et al., "A Log-Euclidean Framework for Statistics on Diffeomorphisms", MICCAI 2006: scaling and squaring).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from voco_lite.samples.draws import Draws
from voco_lite.samples.sources import Source

PITCH_MM = 10.0  # of the control grid: finer than the narrowest motion
SQUARINGS = 6
BONE_MM = 25.0  # wider motion carries bones along, narrower motion would bend them


@dataclass(frozen=True)
class WarpStrength:
    """How far subjects differ in shape; every number that tunes how hard the population is stands here.

    Attributes:
        flow_mm: Standard deviation of the velocity along each axis, one for each width.
        flow_width_mm: Width (sigma) of the Gaussian that smooths each of these velocities.
        bone_stiffness: Share of the narrower velocities that spine and pelvis do not follow.
        swelling: Largest relative growth of an organ's radius, before the flow.
        fat_mm: Largest thickening or thinning of the layer below the skin.
        scale: Smallest and largest body scale along each axis.
        shared_scale: Share of the scale that all three axes have in common, in [0, 1].
        rotation_deg: Largest rotation about the x, y and z axis.
        shift_mm: Largest shift of the body in the field of view, along x and y.
        view: Smallest and largest size of the field of view, as a share of the scaled source, along x and y.
        view_z: The same along z; the scanned part lies anywhere in the source.
    """

    flow_mm: tuple[float, ...] = (10.5, 6.0, 2.0)
    flow_width_mm: tuple[float, ...] = (62.0, 28.0, 14.0)
    bone_stiffness: float = 0.85
    swelling: float = 0.2
    fat_mm: float = 9.0
    scale: tuple[float, float] = (0.82, 1.18)
    shared_scale: float = 0.5
    rotation_deg: tuple[float, float, float] = (4.0, 4.0, 8.0)
    shift_mm: float = 12.0
    view: tuple[float, float] = (0.88, 1.05)
    view_z: tuple[float, float] = (0.8, 0.94)


STRENGTH = WarpStrength()


@dataclass(frozen=True, eq=False)
class Warp:
    """Where the points of a subject lie in its source, and back; RAS mm.

    Attributes:
        matrix: Rotation times scale, applied about the pivot after the flow.
        pivot: Centre of the source.
        origin: First point of the control grid, in the source.
        outward: Displacement of the flow at the control points, source to subject, on axes (z, y, x) in units of half
            the grid's length.
        inward: Displacement of the inverse flow.
        view_center: Centre of the field of view, in the subject.
        view_mm: Size of the field of view.
        traits: What was drawn, as plain JSON values.
    """

    matrix: Float[Tensor, "3 3"]
    pivot: Float[Tensor, "3"]
    origin: Float[Tensor, "3"]
    outward: Float[Tensor, "i j k 3"]
    inward: Float[Tensor, "i j k 3"]
    view_center: Float[Tensor, "3"]
    view_mm: Float[Tensor, "3"]
    traits: dict[str, Any]

    def to_source(self, points: Float[Tensor, "*grid 3"]) -> Float[Tensor, "*grid 3"]:
        """Points of the source that the subject's points show; computed in the points' precision."""
        turned = torch.linalg.inv(self.matrix)
        return self._moved(points, self.inward, turned, self.pivot - turned @ self.pivot, before=True)

    def from_source(self, points: Float[Tensor, "*grid 3"]) -> Float[Tensor, "*grid 3"]:
        """Where the subject shows the source's points; computed in the points' precision."""
        return self._moved(points, self.outward, self.matrix, self.pivot - self.matrix @ self.pivot, before=False)

    def _moved(
        self, points: Float[Tensor, "*grid 3"], field: Tensor, matrix: Tensor, shift: Tensor, before: bool
    ) -> Float[Tensor, "*grid 3"]:
        """The points after the flow and the affine map, which comes before it or after it."""
        flat, kind = points.reshape(-1, 3), points.dtype
        reach = PITCH_MM * (torch.tensor(field.shape[:3], dtype=torch.float64) - 1) / 2
        # Places in the control grid run from -1 to 1 on axes (z, y, x), as grid_sample wants them.
        to_place, start = torch.diag(1 / reach).flip(0), -((self.origin + reach) / reach).flip(0)
        from_place, end = torch.diag(reach).flip(1), self.origin + reach
        if before:
            to_place, start = to_place @ matrix, to_place @ shift + start
        else:
            from_place, end = matrix @ from_place, matrix @ end + shift
        place = torch.addmm(start.to(kind), flat, to_place.T.to(kind))
        place += _sampled(field.to(kind), place)
        return torch.addmm(end.to(kind), place, from_place.T.to(kind)).reshape(points.shape)

    def affine(self, size: tuple[int, int, int]) -> Float[Tensor, "4 4"]:
        """Voxel index to RAS mm of the subject's field of view at a size in voxels."""
        spacing = self.view_mm / torch.tensor(size, dtype=torch.float64)
        result = torch.diag(torch.cat([spacing, torch.ones(1, dtype=torch.float64)]))
        result[:3, 3] = self.view_center - self.view_mm / 2 + spacing / 2
        return result


def voxel_points(
    affine: Float[Tensor, "4 4"], size: tuple[int, int, int], dtype: torch.dtype = torch.float64
) -> Float[Tensor, "x y z 3"]:
    """RAS mm of every voxel centre of an axis-aligned grid."""
    axes = [(affine[a, 3] + affine[a, a] * torch.arange(n)).to(dtype) for a, n in enumerate(size)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def displacement(warp: Warp, affine: Float[Tensor, "4 4"], size: tuple[int, int, int], toward: str) -> Tensor:
    """Displacement in mm at the voxel centres of a grid, (3, x, y, z) float32, toward "source" or "subject"."""
    points = voxel_points(affine, size)
    moved = warp.to_source(points) if toward == "source" else warp.from_source(points)
    return (moved - points).movedim(-1, 0).float().contiguous()


def flow(velocity: Float[Tensor, "i j k 3"]) -> Float[Tensor, "i j k 3"]:
    """Displacement of the velocity's flow after unit time, by scaling and squaring; mm in, `Warp`'s units out."""
    size = velocity.shape[:3]
    reach = PITCH_MM * (torch.tensor(size, dtype=torch.float64) - 1) / 2
    axes = [torch.linspace(-1, 1, n, dtype=torch.float64) for n in size]
    here = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flip(-1).reshape(-1, 3)
    moved: Tensor = (velocity / reach).flip(-1).reshape(-1, 3) / 2**SQUARINGS
    for _ in range(SQUARINGS):
        moved = moved + _sampled(moved.reshape(velocity.shape), here + moved)
    return moved.reshape(velocity.shape)


def _sampled(field: Float[Tensor, "i j k 3"], places: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """The field between its control points, trilinear; beyond them its value at the border."""
    image, grid = field.movedim(-1, 0)[None], places.reshape(1, 1, 1, -1, 3)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)[0, :, 0, 0].T


def draw_warp(source: Source, seed: int, strength: WarpStrength = STRENGTH) -> Warp:
    """The warp of one subject; only the source, the seed and the strength decide it."""
    low, high = source.box
    size = np.ceil((high - low) / PITCH_MM).astype(int) + 1
    origin = (low + high) / 2 - (size - 1) * PITCH_MM / 2
    points = _control_points(origin, size)
    draws = Draws(seed, "shape")
    fat = draws.uniform(-strength.fat_mm, strength.fat_mm)
    velocity = fat * source.outward_normals(points)
    swelling = {}
    for organ in source.swelling_organs:
        growth = draws.uniform(-strength.swelling, strength.swelling)
        center, radius = source.place(organ)
        offset = points - center
        velocity += growth * offset * np.exp(-(offset**2).sum(-1, keepdims=True) / (2 * (0.9 * radius) ** 2))
        swelling[organ] = round(1 + growth, 3)
    velocity = velocity + _random_velocity(seed, source, points, strength)
    motion = torch.from_numpy(velocity)
    matrix, traits = _draw_pose(draws, strength)
    center, view = _draw_view(draws, low, high, np.asarray(traits["scale"]), strength)
    traits |= {"fat_mm": round(fat, 2), "organ_growth": swelling}
    return Warp(
        matrix=torch.from_numpy(matrix),
        pivot=torch.from_numpy((low + high) / 2),
        origin=torch.from_numpy(origin),
        outward=flow(motion),
        inward=flow(-motion),
        view_center=torch.from_numpy(center),
        view_mm=torch.from_numpy(view),
        traits=traits,
    )


def _control_points(origin: Float[ndarray, "3"], size: Int[ndarray, "3"]) -> Float[ndarray, "i j k 3"]:
    axes = [origin[a] + PITCH_MM * np.arange(n) for a, n in enumerate(size)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def _random_velocity(
    seed: int, source: Source, points: Float[ndarray, "i j k 3"], strength: WarpStrength
) -> Float[ndarray, "i j k 3"]:
    """Smooth noise at several widths that carries no point through the box and bends bones little."""
    noise, (low, high) = Draws(seed, "flow"), source.box
    total, soft = np.zeros(points.shape), 1 - strength.bone_stiffness * source.stiffness(points)
    for amount, width in zip(strength.flow_mm, strength.flow_width_mm, strict=True):
        sigma = width / PITCH_MM
        smooth = gaussian_filter(noise.normal(*points.shape), (sigma, sigma, sigma, 0), mode="wrap", truncate=3)
        # The deviation of such noise is known; the drawn one would make the strength depend on the draw.
        share = 1 if width > 2 * BONE_MM else soft
        total += amount * share * smooth * (2 * np.sqrt(np.pi) * sigma) ** 1.5
    to_border = np.minimum(points - low, high - points)
    return np.asarray(total * np.clip(to_border / 30.0, 0, 1))


def _draw_pose(draws: Draws, strength: WarpStrength) -> tuple[Float[ndarray, "3 3"], dict[str, Any]]:
    """Rotation times scale, and both as traits."""
    shared, own = draws.uniform(*strength.scale), [draws.uniform(*strength.scale) for _ in range(3)]
    scale = [shared * strength.shared_scale + s * (1 - strength.shared_scale) for s in own]
    angles = [draws.uniform(-limit, limit) for limit in strength.rotation_deg]
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(angles)):
        turn, (a, b) = np.eye(3), [i for i in range(3) if i != axis]
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    traits = {"scale": [round(s, 4) for s in scale], "rotation_deg": [round(a, 2) for a in angles]}
    return matrix @ np.diag(traits["scale"]), dict(traits)


def _draw_view(
    draws: Draws, low: ndarray, high: ndarray, scale: ndarray, strength: WarpStrength
) -> tuple[Float[ndarray, "3"], Float[ndarray, "3"]]:
    """Centre and size of the field of view, in mm of the subject."""
    whole = (high - low) * scale
    share = np.array([draws.uniform(*strength.view), draws.uniform(*strength.view), draws.uniform(*strength.view_z)])
    shift = np.array([draws.uniform(-strength.shift_mm, strength.shift_mm) for _ in range(2)])
    rise = draws.uniform(-0.5, 0.5) * (1 - share[2]) * whole[2]
    return (low + high) / 2 + np.array([*shift, rise]), whole * share
