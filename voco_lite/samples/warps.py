"""Random changes of shape that can be undone: an affine map after the flow of a smooth velocity field.

The flow of a stationary velocity field is a diffeomorphism, and the flow of its negative is the inverse
(Arsigny et al., "A Log-Euclidean Framework for Statistics on Diffeomorphisms", MICCAI 2006: scaling and squaring).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from voco_lite.samples.draws import Draws
from voco_lite.samples.sources import Source

PITCH_MM = 9.0  # of the control grid: a third of the smallest organ that must move on its own
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

    flow_mm: tuple[float, ...] = (12.0, 6.0, 2.0)
    flow_width_mm: tuple[float, ...] = (60.0, 28.0, 14.0)
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
        outward: Displacement of the flow at the control points, source to subject, in mm.
        inward: Displacement of the inverse flow.
        traits: What was drawn, as plain JSON values.
    """

    matrix: Float[Tensor, "3 3"]
    pivot: Float[Tensor, "3"]
    origin: Float[Tensor, "3"]
    outward: Float[Tensor, "3 i j k"]
    inward: Float[Tensor, "3 i j k"]
    view_center: Float[Tensor, "3"]
    view_mm: Float[Tensor, "3"]
    traits: dict[str, object]

    def to_source(self, points: Float[Tensor, "*grid 3"]) -> Float[Tensor, "*grid 3"]:
        """Points of the source that the subject's points show."""
        inner = (points - self.pivot) @ torch.linalg.inv(self.matrix).T + self.pivot
        return inner + sample_displacement(self.inward, self.origin, inner)

    def from_source(self, points: Float[Tensor, "*grid 3"]) -> Float[Tensor, "*grid 3"]:
        """Where the subject shows the source's points."""
        inner = points + sample_displacement(self.outward, self.origin, points)
        return (inner - self.pivot) @ self.matrix.T + self.pivot

    def affine(self, size: tuple[int, int, int]) -> Float[Tensor, "4 4"]:
        """Voxel index to RAS mm of the subject's field of view at a size in voxels."""
        spacing = self.view_mm / torch.tensor(size, dtype=torch.float64)
        result = torch.diag(torch.cat([spacing, torch.ones(1, dtype=torch.float64)]))
        result[:3, 3] = self.view_center - self.view_mm / 2 + spacing / 2
        return result


def voxel_points(affine: Float[Tensor, "4 4"], size: tuple[int, int, int]) -> Float[Tensor, "x y z 3"]:
    """RAS mm of every voxel centre of an axis-aligned grid, float64."""
    axes = [affine[a, 3] + affine[a, a] * torch.arange(n, dtype=torch.float64) for a, n in enumerate(size)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def displacement(warp: Warp, affine: Float[Tensor, "4 4"], size: tuple[int, int, int], toward: str) -> Tensor:
    """Displacement in mm at the voxel centres of a grid, (3, x, y, z) float32, toward "source" or "subject"."""
    points = voxel_points(affine, size)
    moved = warp.to_source(points) if toward == "source" else warp.from_source(points)
    return (moved - points).movedim(-1, 0).float().contiguous()


def sample_displacement(
    field: Float[Tensor, "3 i j k"], origin: Float[Tensor, "3"], points: Float[Tensor, "*grid 3"]
) -> Float[Tensor, "*grid 3"]:
    """The field between its control points, trilinear; beyond them its value at the border."""
    last = torch.tensor(field.shape[1:], dtype=torch.float64) - 1
    place = (points - origin) / PITCH_MM * (2 / last) - 1
    flat = place.flip(-1).reshape(1, 1, 1, -1, 3)
    sampled = F.grid_sample(field[None], flat, mode="bilinear", padding_mode="border", align_corners=True)
    return sampled[0, :, 0, 0].T.reshape(points.shape)


def flow(velocity: Float[Tensor, "3 i j k"], origin: Float[Tensor, "3"]) -> Float[Tensor, "3 i j k"]:
    """Displacement of the velocity's flow after unit time, by scaling and squaring."""
    points = _control_points(origin, velocity.shape[1:])
    field = velocity / 2**SQUARINGS
    for _ in range(SQUARINGS):
        field = field + sample_displacement(field, origin, points + field.movedim(0, -1)).movedim(-1, 0)
    return field


def draw_warp(source: Source, seed: int, strength: WarpStrength = STRENGTH) -> Warp:
    """The warp of one subject; only the source, the seed and the strength decide it."""
    low, high = source.box
    size = np.ceil((high - low) / PITCH_MM).astype(int) + 1
    origin = (low + high) / 2 - (size - 1) * PITCH_MM / 2
    points = _control_points(torch.from_numpy(origin), size).numpy()
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
    pinned = torch.from_numpy(np.moveaxis(velocity, -1, 0).copy())
    start = torch.from_numpy(origin)
    matrix, traits = _draw_pose(draws, strength)
    center, view = _draw_view(draws, low, high, np.asarray(traits["scale"]), strength)
    traits |= {"fat_mm": round(fat, 2), "organ_growth": swelling}
    return Warp(
        matrix=torch.from_numpy(matrix),
        pivot=torch.from_numpy((low + high) / 2),
        origin=start,
        outward=flow(pinned, start),
        inward=flow(-pinned, start),
        view_center=torch.from_numpy(center),
        view_mm=torch.from_numpy(view),
        traits=traits,
    )


def _control_points(origin: Float[Tensor, "3"], size: tuple[int, ...] | torch.Size) -> Float[Tensor, "i j k 3"]:
    axes = [origin[a] + PITCH_MM * torch.arange(int(n), dtype=torch.float64) for a, n in enumerate(size)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


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


def _draw_pose(draws: Draws, strength: WarpStrength) -> tuple[Float[ndarray, "3 3"], dict[str, object]]:
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
