"""What registration without a network comes to: nothing at all, one affine map by intensities, the best affine map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from monai.losses import LocalNormalizedCrossCorrelationLoss
from torch import Tensor

from voco_lite.downstream.deformation import fit_affine, follow
from voco_lite.downstream.pairs import Pair, known_matches

Field = Float[Tensor, "3 x y z"]
AffineMap = Float[Tensor, "4 3"]
_LONGEST = 24  # voxels of the scans that are compared: an affine map needs no finer ones
_WINDOW = 5


def no_displacement(pair: Pair) -> Field:
    """Every voxel matches the one of its own index."""
    return torch.zeros(3, *pair.fixed.shape)


def register_affine(pair: Pair, steps: int = 100, rate: float = 0.02) -> Field:
    """The displacement of `find_affine`."""
    return follow(no_displacement(pair), find_affine(pair, steps, rate))


def find_affine(pair: Pair, steps: int = 100, rate: float = 0.02) -> AffineMap:
    """The affine map that makes the scans most alike, by gradient descent on the local correlation of small copies.

    Args:
        pair: Alike in their first channel.
        steps: Of Adam.
        rate: Of Adam; the map counts half the scan's length as 1.

    Returns:
        From voxels of the fixed scan to those of the moving one, float64: `[points, 1] @ map`.

    Raises:
        ValueError: Fewer steps than one.
    """
    if steps < 1 or not rate > 0:
        raise ValueError(f"steps must be at least 1 and rate positive, got {steps} and {rate}. Take 100 and 0.02.")
    factor = max(round(max(pair.fixed.shape) / _LONGEST), 1)
    moving, fixed = (F.avg_pool3d(volume.data[None, :1].float(), factor) for volume in (pair.moving, pair.fixed))
    loss = LocalNormalizedCrossCorrelationLoss(kernel_size=_WINDOW)
    theta = torch.eye(3, 4).requires_grad_()
    adam = torch.optim.Adam([theta], rate)
    # Also where a validation has turned gradients off and half precision on.
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        for _ in range(steps):
            places = F.affine_grid(theta[None], list(fixed.shape), align_corners=True)
            unlike = loss(F.grid_sample(moving, places, padding_mode="border", align_corners=True), fixed)
            adam.zero_grad()
            unlike.backward()
            adam.step()
    return in_voxels(theta.detach().double(), pair.fixed.shape, factor)


def best_affine(pair: Pair, points: int = 500, seed: int = 1) -> Field:
    """The affine map nearest to the known warps, by least squares: no affine registration can do much better.

    Args:
        pair: Subjects whose warps are known.
        points: How many known matches it is fitted to.
        seed: Of their draw.

    Raises:
        ValueError: As `known_matches`.
    """
    return follow(no_displacement(pair), fit_affine(*known_matches(pair, points, seed)))


def in_voxels(theta: Float[Tensor, "3 4"], shape: tuple[int, ...], factor: int = 1) -> AffineMap:
    """The map of `affine_grid`, whose places run from -1 to 1 on axes (z, y, x), for voxels on axes (x, y, z).

    Args:
        theta: Of a copy whose voxels are averages, with `align_corners`: -1 and 1 are the middles of its outermost voxels.
        shape: Of the scan.
        factor: How many voxels of the scan a voxel of the copy spans along each axis.
    """
    small = torch.tensor(shape, dtype=torch.float64) // factor
    half, middle = factor * (small - 1) / 2, (factor * small - 1) / 2
    linear = theta[:, :3].flip(0, 1).T * half / half[:, None]
    shift = middle + half * theta[:, 3].flip(0) - middle @ linear
    return torch.cat([linear, shift[None]])
