"""What a displacement field does to points and space: target error in mm, folding, and the best affine map.

A field gives, for each voxel of the fixed scan, how far away its match lies in the moving scan, in voxels: the
convention of MONAI's `Warp`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Field = Float[Tensor, "3 x y z"]
Points = Float[Tensor, "points 3"]


def displacement_at(field: Field, points: Points) -> Points:
    """The field at points of the fixed scan, both in voxels; trilinear, beyond the border its value there."""
    _require_field(field)
    size = torch.tensor(field.shape[1:], dtype=field.dtype, device=field.device)
    place = (2 * points.to(field) / (size - 1) - 1).flip(-1).reshape(1, 1, 1, -1, 3)
    return F.grid_sample(field[None], place, padding_mode="border", align_corners=True)[0, :, 0, 0].T


def target_errors_mm(
    field: Field, fixed: Points, moving: Points, spacing: tuple[float, float, float]
) -> Float[Tensor, " points"]:
    """How far each fixed point, moved by the field, ends from its true match.

    Args:
        field: Of the registration.
        fixed: Points in voxels of the fixed scan.
        moving: The same points of the body, in voxels of the moving scan.
        spacing: Of the moving scan's voxels, mm.

    Raises:
        ValueError: No field, a voxel without size, or points without a match each.
    """
    if fixed.shape != moving.shape or fixed.ndim != 2 or fixed.shape[-1] != 3 or min(spacing) <= 0:
        raise ValueError(
            f"fixed and moving must be matching points (points, 3) and spacing positive, got {tuple(fixed.shape)}, "
            f"{tuple(moving.shape)} and {spacing}. Give each point its match, and mm for each axis."
        )
    found = fixed.to(field) + displacement_at(field, fixed)
    return ((found - moving.to(field)) * torch.tensor(spacing).to(field)).norm(dim=-1)


def jacobian_determinant(field: Field) -> Float[Tensor, "x y z"]:
    """Of the map of voxels to their matches: 1 keeps volume, 0 or less folds; central differences as NumPy's."""
    _require_field(field)
    slopes = torch.stack(torch.gradient(field, dim=(1, 2, 3)), dim=-1)  # (3, x, y, z, 3)
    return torch.linalg.det(slopes.movedim(0, -2) + torch.eye(3).to(field))


def folded_share(field: Field) -> float:
    """Share of voxels where space folds over itself, in [0, 1]."""
    return float((jacobian_determinant(field) <= 0).double().mean())


def fit_affine(fixed: Points, moving: Points) -> Float[Tensor, "4 3"]:
    """The affine map of fixed to moving points by least squares: `[points, 1] @ map`, float64.

    It knows the true matches, so that no affine registration of these points does better: a bound, not a method.

    Raises:
        ValueError: Fewer than four points, or all of them in one plane.
    """
    known = torch.cat([fixed.double(), torch.ones(len(fixed), 1, dtype=torch.float64)], dim=-1)
    if fixed.shape != moving.shape or len(known) < 4 or int(torch.linalg.matrix_rank(known)) < 4:
        raise ValueError(
            f"An affine map needs at least four matching points that span space, got {tuple(fixed.shape)} and "
            f"{tuple(moving.shape)}. Give more points of the body."
        )
    return torch.linalg.lstsq(known, moving.double()).solution


def follow(field: Field, affine: Float[Tensor, "4 3"]) -> Field:
    """The displacement of a field's voxels that go where the field sends them, and from there by an affine map.

    Args:
        field: From the fixed scan to one that an affine map aligned with it.
        affine: From the aligned scan to the moving one, both in voxels: `[points, 1] @ affine`.
    """
    _require_field(field)
    axes = [torch.arange(n, dtype=torch.float64) for n in field.shape[1:]]
    voxels = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    reached = voxels + field.double().movedim(0, -1)
    return (reached @ affine[:3] + affine[3] - voxels).movedim(-1, 0).to(field.dtype)


def _require_field(field: Tensor) -> None:
    if field.ndim != 4 or field.shape[0] != 3 or min(field.shape[1:]) < 2:
        raise ValueError(
            f"field must be (3, x, y, z) with at least 2 voxels an axis, got {tuple(field.shape)}. "
            "Take one field out of a batch with field[0]."
        )
