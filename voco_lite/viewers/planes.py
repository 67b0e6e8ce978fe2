"""Slices as a radiologist expects them: the patient's right is on the left of axial and coronal slices.

Volumes are (x, y, z) in RAS: x grows toward the patient's right, y toward the front, z toward the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from voco_lite.config import Size

if TYPE_CHECKING:
    from voco_lite.volumes import Volume

Window = tuple[float, float]
PlaneName = Literal["axial", "coronal", "sagittal"]
HU_WINDOW: Window = (-175.0, 250.0)


@dataclass(frozen=True)
class Plane:
    """How slices across one axis are laid out on the screen.

    Attributes:
        name: "axial", "coronal" or "sagittal".
        across: Axis that is cut, 0 for x.
        columns: Axis that runs along the width; its high end is on the left.
        rows: Axis that runs along the height; its high end is at the top.
        letters: Sides of the patient at the left, right, top and bottom border.
    """

    name: PlaneName
    across: int
    columns: int
    rows: int
    letters: tuple[str, str, str, str]

    def step(self, key: str) -> tuple[int, int] | None:
        """Axis and direction in which a key leads: arrows as seen on the screen, page keys through the slices."""
        return {
            "ArrowLeft": (self.columns, 1),
            "ArrowRight": (self.columns, -1),
            "ArrowUp": (self.rows, 1),
            "ArrowDown": (self.rows, -1),
            "PageUp": (self.across, 1),
            "PageDown": (self.across, -1),
        }.get(key)


PLANES: dict[str, Plane] = {
    "axial": Plane("axial", across=2, columns=0, rows=1, letters=("R", "L", "A", "P")),
    "coronal": Plane("coronal", across=1, columns=0, rows=2, letters=("R", "L", "S", "I")),
    "sagittal": Plane("sagittal", across=0, columns=1, rows=2, letters=("A", "P", "S", "I")),
}


@dataclass(frozen=True)
class Panel:
    """Where a slice lies in a picture.

    Attributes:
        plane: Across what it is cut.
        level: Index of the slice.
        shape: Of the volume, in voxels.
        box: Left, top, width and height in pixels of the picture, fractions too.
    """

    plane: Plane
    level: int
    shape: Size
    box: tuple[float, float, float, float]

    def voxel(self, x: float, y: float) -> Size | None:
        """The voxel that a pixel shows; None outside the slice. Pixels are counted from the picture's upper left."""
        left, top, width, height = self.box
        across, down = (x - left) / width, (y - top) / height
        if not (0 <= across < 1 and 0 <= down < 1):
            return None
        found = [self.level] * 3
        for axis, share in ((self.plane.columns, 1 - across), (self.plane.rows, 1 - down)):
            # A share of 1 is the outer border of the last voxel.
            found[axis] = min(int(share * self.shape[axis]), self.shape[axis] - 1)
        return found[0], found[1], found[2]


def plane_named(name: str) -> Plane:
    """The plane of that name.

    Raises:
        ValueError: There is none.
    """
    if name not in PLANES:
        raise ValueError(f"plane must be one of {', '.join(PLANES)}, got {name!r}.")
    return PLANES[name]


def take_slice(data: Tensor, plane: Plane, index: int) -> Tensor:
    """One slice of (x, y, z) data as rows from top to bottom and columns from left to right."""
    piece = data.select(plane.across, index)
    # What is left are two axes in the order x, y, z, and columns always come before rows in it.
    return piece.T.flip(0, 1)


def channels_of(volume: Volume | Tensor) -> Float[Tensor, "channel x y z"]:
    """What a network gets of a volume.

    Raises:
        ValueError: Neither (channel, x, y, z) nor (x, y, z).
    """
    data = volume if isinstance(volume, Tensor) else volume.data
    if data.ndim not in (3, 4):
        raise ValueError(
            f"volume must be (channel, x, y, z) or (x, y, z), got shape {tuple(data.shape)}. Take one volume of a batch."
        )
    return (data if data.ndim == 4 else data[None]).detach()


def first_channel(volume: Volume | Tensor) -> Float[Tensor, "x y z"]:
    """The voxels to show; raises as `channels_of`."""
    return channels_of(volume)[0].float().cpu()


def spacing_of(volume: Volume | Tensor) -> tuple[float, float, float]:
    """Voxel size in mm; cubes where a bare tensor tells nothing."""
    if isinstance(volume, Tensor):
        return 1.0, 1.0, 1.0
    x, y, z = (float(size) for size in volume.spacing)
    return x, y, z


def default_window(volume: Volume | Tensor) -> Window:
    """Abdomen window for HU, 0 to 1 for what is prepared so, else the range of the values."""
    data = first_channel(volume)
    if getattr(volume, "units", "") == "HU":
        return HU_WINDOW
    low, high = float(data.min()), float(data.max())
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return (low, high) if high > low else (low, low + 1)


def grey(values: Tensor, window: Window) -> Tensor:
    """Grey levels 0 to 255 as uint8: black at the low end of the window, white at the high end.

    Raises:
        ValueError: A window without width.
    """
    low, high = window
    if not high > low:
        raise ValueError(f"window must be (low, high) with low < high, got {window}. The abdomen's is {HU_WINDOW} HU.")
    return ((values - low) / (high - low)).clamp(0, 1).mul(255).round().to(torch.uint8)
