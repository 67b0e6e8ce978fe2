"""How a subject looks in HU: contrast phase, organs, lesions, scanner; all drawn from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage
from torch import Tensor

from voco_lite.samples.draws import Draws
from voco_lite.samples.lesions import Lesion
from voco_lite.samples.sources import AIR_HU, KIDNEY_CORTEX, Level, Source

PHASES = ("native", "arterial", "portal venous", "delayed")
# Rise in HU over the unenhanced scan, by the start of the organ's name; typical values of abdominal CT textbooks.
_UPTAKE: dict[str, tuple[float, float, float, float]] = {
    "aorta": (0, 240, 110, 60),
    "iliac_artery": (0, 220, 110, 60),
    "inferior_vena_cava": (0, 20, 90, 60),
    "iliac_vena": (0, 5, 70, 60),
    "portal_vein": (0, 50, 120, 60),
    "heart": (0, 130, 80, 50),
    "liver": (0, 12, 60, 40),
    "spleen": (0, 75, 80, 45),
    "pancreas": (0, 65, 50, 30),
    "kidney_cortex": (0, 130, 140, 90),
    "kidney": (0, 35, 110, 100),
    "adrenal": (0, 45, 45, 25),
    "stomach": (0, 20, 25, 15),
    "duodenum": (0, 20, 30, 15),
    "small_bowel": (0, 20, 35, 20),
    "colon": (0, 12, 20, 12),
    "urinary_bladder": (0, 0, 5, 120),
    "gluteus": (0, 5, 12, 12),
    "iliopsoas": (0, 5, 12, 12),
    "autochthon": (0, 5, 12, 12),
}


@dataclass(frozen=True)
class LookStrength:
    """How far subjects differ in intensity; every such number stands here.

    Attributes:
        organ_hu: Largest change of an organ's mean, beside the contrast phase.
        tissue_hu: Largest change of fat, and of muscle and everything else without a name.
        bone_gain: Largest relative change of bone above soft tissue.
        mottle_hu: Deviation of smooth noise inside the body, for each width.
        mottle_mm: Widths (sigma) of that noise.
        bias_hu: Deviation of the slow change of brightness through the scan.
        noise_hu: Smallest and largest deviation of the scanner's noise.
        noise_width: Smallest and largest width (sigma) of its grain, in voxels.
        blur: Smallest and largest width (sigma) of the scanner's kernel, in voxels.
    """

    organ_hu: float = 14.0
    tissue_hu: float = 12.0
    bone_gain: float = 0.25
    mottle_hu: tuple[float, ...] = (4.0, 5.0)
    mottle_mm: tuple[float, ...] = (25.0, 9.0)
    bias_hu: float = 8.0
    noise_hu: tuple[float, float] = (5.0, 24.0)
    noise_width: tuple[float, float] = (0.3, 0.8)
    blur: tuple[float, float] = (0.2, 0.75)


LOOK = LookStrength()


def paint(
    source: Source, level: Level, seed: int, lesions: tuple[Lesion, ...], look: LookStrength = LOOK
) -> tuple[Float[ndarray, "x y z"], dict[str, Any]]:
    """The source in HU with this subject's contrast, tissues and lesions; and the traits that were drawn."""
    draws = Draws(seed, "contrast")
    phase, timing = draws.choose(PHASES), draws.uniform(0.75, 1.15)
    rise = np.zeros(256, dtype=np.float32)
    for number, name in [*source.names.items(), (KIDNEY_CORTEX, "kidney_cortex_")]:
        own = draws.uniform(-look.organ_hu, look.organ_hu)
        rise[number] = own + timing * _uptake(name, phase) if number in source.ids.values() or number > 127 else 0
    rise[KIDNEY_CORTEX] += 0.0
    fat, muscle = draws.uniform(-look.tissue_hu, look.tissue_hu), draws.uniform(-look.tissue_hu, look.tissue_hu)
    gain = draws.uniform(-look.bone_gain, look.bone_gain)
    hu = level.hu
    sigma = 2.4 / level.spacing  # organ borders stay as soft as the scan's
    organs = ndimage.gaussian_filter(rise[level.paint], sigma, mode="nearest", truncate=2.5)
    # Gas takes up no contrast, nor does fat; between -120 and 0 HU voxels hold a part of both.
    soft = np.clip((hu + 120) / 120, 0, 1)
    fatty = np.clip((hu + 300) / 150, 0, 1) * (1 - soft)
    bone = np.clip((hu - 180) / 100, 0, 1)
    result = hu + soft * (organs * (1 - bone) + muscle * (level.paint == 0)) + fatty * fat
    result += gain * bone * (hu - 180)
    for lesion in lesions:
        lesion.paint(result, source, level)
    return result.astype(np.float32), {"contrast_phase": phase}


def _uptake(name: str, phase: str) -> float:
    found = next((rise for start, rise in _UPTAKE.items() if name.startswith(start)), (0, 0, 0, 0))
    return float(found[PHASES.index(phase)])


def scan(
    painted: Float[ndarray, "x y z"],
    level: Level,
    seed: int,
    inner: Float[Tensor, "x y z 3"],
    spacing: Float[Tensor, "3"],
    look: LookStrength = LOOK,
) -> tuple[Float[Tensor, "x y z"], dict[str, Any]]:
    """A scan of the painted source at the given points: kernel, mottle, bias, noise; whole HU.

    Args:
        painted: The source in HU.
        level: Where its voxels lie.
        seed: The subject's.
        inner: Points of the source, in RAS mm, for every voxel of the scan.
        spacing: Voxel size of the scan in mm.
    """
    draws, size = Draws(seed, "scanner"), inner.shape[:3]
    blur, width = draws.uniform(*look.blur), draws.uniform(*look.noise_width)
    noise_hu = draws.uniform(*look.noise_hu)
    # A voxel averages over itself; what the source's voxels already average over is taken off.
    sigma = np.sqrt(np.clip(((0.45 + blur**2) * spacing.numpy() ** 2 - 0.45 * level.spacing**2), 0, None))
    softened = ndimage.gaussian_filter(painted, sigma / level.spacing, mode="nearest", truncate=2.5)
    hu = _sample(torch.from_numpy(softened), level, inner)
    body = ((hu + 500) / 300).clamp(0, 1)
    hu = hu + body * (_mottle(draws, size, spacing, look) + _bias(draws, size, look))
    noise = ndimage.gaussian_filter(draws.normal(*size).astype(np.float32), width, truncate=3)
    noise *= noise_hu / max(_deviation(width), 1e-6)
    hu = (hu + torch.from_numpy(noise)).clamp(AIR_HU, 3071).round()
    return hu, {"noise_hu": round(noise_hu, 2), "kernel_voxels": round(blur, 3)}


def _deviation(width: float) -> float:
    """Deviation of white noise after the Gaussian, on three axes."""
    impulse = np.zeros(15)
    impulse[7] = 1
    weights = ndimage.gaussian_filter1d(impulse, width, truncate=3)
    return float((weights**2).sum() ** 1.5)


def _mottle(draws: Draws, size: torch.Size, spacing: Float[Tensor, "3"], look: LookStrength) -> Float[Tensor, "x y z"]:
    """Smooth noise of known deviation, made on a grid as coarse as it is smooth."""
    total = torch.zeros(size)
    for amount, width in zip(look.mottle_hu, look.mottle_mm, strict=True):
        cells = [max(2, int(np.ceil(n * float(s) / width)) + 1) for n, s in zip(size, spacing, strict=True)]
        coarse = torch.from_numpy(draws.normal(1, 1, *cells)).float()
        total += 1.8 * amount * F.interpolate(coarse, size=tuple(size), mode="trilinear", align_corners=True)[0, 0]
    return total


def _bias(draws: Draws, size: torch.Size, look: LookStrength) -> Float[Tensor, "x y z"]:
    coarse = torch.from_numpy(draws.normal(1, 1, 3, 3, 3)).float() * look.bias_hu
    return F.interpolate(coarse, size=tuple(size), mode="trilinear", align_corners=True)[0, 0]


def _sample(image: Float[Tensor, "x y z"], level: Level, points: Float[Tensor, "i j k 3"]) -> Float[Tensor, "i j k"]:
    """Trilinear between voxel centres, the border's value beyond."""
    reach = torch.from_numpy(level.spacing) * (torch.tensor(image.shape, dtype=torch.float64) - 1) / 2
    to_place, start = torch.diag(1 / reach).flip(0), -((torch.from_numpy(level.first) + reach) / reach).flip(0)
    grid = torch.addmm(start.float(), points.float().reshape(-1, 3), to_place.T.float()).reshape(1, *points.shape)
    return F.grid_sample(image[None, None], grid, mode="bilinear", padding_mode="border", align_corners=True)[0, 0]
