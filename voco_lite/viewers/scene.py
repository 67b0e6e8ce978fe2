"""What `view` shows, whatever draws it: a volume in RAS with labels, boxes and heat that fit to it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from voco_lite.config import Size
from voco_lite.crops import CropGrid, grid_starts
from voco_lite.viewers.pictures import ORANGE
from voco_lite.viewers.planes import Window, channels_of, default_window, grey
from voco_lite.viewers.sliding import Lattice
from voco_lite.volumes import Volume
from voco_lite.volumes.preparing import to_ras

_DARKEST = 0.45  # of the colour map: what lies below is not seen on black


class Box(NamedTuple):
    """A crop to draw; a plain pair or triple of the same will do.

    Attributes:
        first: First voxel along (x, y, z).
        size: Voxels along (x, y, z).
        value: Share in [0, 1] that chooses the colour, such as an overlap; None: orange, as random crops are.
    """

    first: Size
    size: Size
    value: float | None = None

    @property
    def colour(self) -> tuple[int, int, int]:
        """Red, green and blue, 0 to 255: from blue-grey at 0 to yellow at 1, a scale that colour-blind eyes read too."""
        from matplotlib import colormaps
        from matplotlib.colors import to_rgb

        shade = to_rgb(ORANGE)
        if self.value is not None:
            shade = colormaps["cividis"](_DARKEST + (1 - _DARKEST) * min(max(self.value, 0.0), 1.0))[:3]
        red, green, blue = (round(255 * part) for part in shade)
        return red, green, blue


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that a viewer draws, on one grid whose axes run to the patient's right, front and head.

    Attributes:
        volume: With the labels to name voxels by, also where they are not drawn.
        labels: Drawn over the volume; None: none.
        boxes: Inside the volume.
        heat: In [0, 1], drawn over the volume; None: none.
        window: Values that are black and white.
    """

    volume: Volume
    labels: Int[Tensor, "x y z"] | None
    boxes: tuple[Box, ...]
    heat: Float[Tensor, "x y z"] | None
    window: Window

    @property
    def point(self) -> Size:
        """Where to look first: the largest heat, else the middle of all boxes, else of the volume."""
        if self.heat is not None:
            place = [int(n) for n in torch.unravel_index(self.heat.argmax(), self.heat.shape)]
        elif self.boxes:
            middles = torch.tensor([[a + n / 2 for a, n in zip(*box[:2], strict=True)] for box in self.boxes])
            place = middles.mean(0).int().tolist()
        else:
            place = [n // 2 for n in self.volume.shape]
        x, y, z = place
        return x, y, z

    @property
    def words(self) -> str:
        """What is shown, in a sentence."""
        parts = []
        if self.labels is not None:
            parts.append(f"{len(self.labels.unique()) - int(bool((self.labels == 0).any()))} labels in colour")
        if self.boxes:
            parts.append(f"{len(self.boxes)} {'box' if len(self.boxes) == 1 else 'boxes'}")
        if self.heat is not None:
            parts.append(f"heat up to {float(self.heat.max()):.2f}")
        size = " × ".join(str(n) for n in self.volume.shape)
        spacing = " × ".join(f"{mm:.3g}" for mm in self.volume.spacing)
        return f"Volume of {size} voxels, {spacing} mm each{', with ' if parts else ''}{', '.join(parts)}"


def make_scene(
    volume: Volume | Tensor,
    labels: Int[Tensor, "x y z"] | None = None,
    boxes: Sequence[tuple[Any, ...]] = (),
    heat: Float[Tensor, "x y z"] | None = None,
    window: Window | None = None,
) -> Scene:
    """Check that everything fits together and turn it into RAS; arguments as in `view`.

    Raises:
        ValueError: A volume or heat that is not finite, shapes that differ from the volume's, a box outside it or without
            a finite value, negative labels, or a window without width.
    """
    data = channels_of(volume).float().cpu()
    if not bool(data.isfinite().all()):
        raise ValueError("volume must be finite everywhere, got NaN or infinity. Load it with load_volume, or mend it.")
    if isinstance(volume, Tensor):
        volume = Volume(data, torch.eye(4, dtype=torch.float64), "a tensor", "stored")
    _require_shape(labels, "labels", volume.shape)
    _require_shape(heat, "heat", volume.shape)
    if labels is not None and (labels.is_floating_point() or int(labels.min()) < 0):
        raise ValueError(
            f"labels must be whole numbers from 0 on, got {labels.dtype} from {labels.min():g}. Convert with labels.long()."
        )
    if heat is not None and not bool(heat.isfinite().all()):
        raise ValueError("heat must be finite everywhere, got NaN or infinity. Put 0 where nothing is to be drawn.")
    turned, affine = to_ras(data, volume.affine)
    named = volume.labels if labels is None else labels
    whole = replace(volume, data=turned, affine=affine, labels=_turned(named, volume))
    shades = window or default_window(whole)
    grey(torch.zeros(1), shades)  # refuses a window without width
    drawn = tuple(_turned_box(box, volume, whole) for box in _checked(boxes, volume.shape))
    warmth = None if heat is None else _turned(heat.detach().float().cpu().clamp(0, 1), volume)
    return Scene(whole, None if labels is None else whole.labels, drawn, warmth, shades)


def base_crop_boxes(
    grid: CropGrid, shares: Float[Tensor, "bases"] | None = None, first: Size = (0, 0, 0)
) -> tuple[Box, ...]:
    """The base crops of a grid as boxes for `view`.

    Args:
        grid: Where the base crops lie.
        shares: A value for the colour of each, such as a crop's position label; None: all orange.
        first: First voxel of the grid's block in the volume.

    Raises:
        ValueError: Not one share for each base crop.
    """
    if shares is not None and shares.shape != (grid.bases,):
        raise ValueError(
            f"shares must be one number for each of {grid.bases} base crops, got shape {tuple(shares.shape)}. "
            "Give one row of position_labels."
        )
    values = [None] * grid.bases if shares is None else shares.tolist()
    starts = (grid_starts(grid) + torch.tensor(first)).tolist()
    return tuple(Box((x, y, z), grid.crop_size, value) for (x, y, z), value in zip(starts, values, strict=True))


def heat_over(lattice: Lattice, values: Float[Tensor, "nx ny nz"]) -> Float[Tensor, "x y z"]:
    """Values of crops at the crops' middles, between them linear, as heat for `view`; 0 where no crop has its middle.

    Args:
        lattice: Where the crops lie, such as `SimilarityMap.lattice`.
        values: One for each, such as `SimilarityMap.similarity[name][base]`.
    """
    fine = tuple((n - 1) * lattice.stride + 1 for n in lattice.counts)
    heat = torch.zeros(lattice.shape)
    x, y, z = (slice(size // 2, size // 2 + n) for size, n in zip(lattice.size, fine, strict=True))
    between = F.interpolate(values[None, None].float(), size=fine, mode="trilinear", align_corners=True)[0, 0]
    heat[x, y, z] = between
    return heat


def _require_shape(values: Tensor | None, name: str, shape: Size) -> None:
    if values is not None and tuple(values.shape) != shape:
        raise ValueError(
            f"{name} must have the volume's shape {shape}, got {tuple(values.shape)}. "
            "Give values on the grid of this volume, without a channel."
        )


def _checked(boxes: Iterable[tuple[Any, ...]], shape: Size) -> Iterable[Box]:
    for number, entry in enumerate(boxes):
        if len(entry) not in (2, 3) or any(len(part) != 3 for part in entry[:2]):
            raise ValueError(
                f"boxes must be (first voxel, size) or (first voxel, size, value), got {entry!r} as box {number}. "
                "Take the base crops of a grid with viewers.base_crop_boxes(grid)."
            )
        box = Box(*(tuple(int(n) for n in part) for part in entry[:2]), *entry[2:])  # type: ignore[arg-type]
        inside = all(a >= 0 and n >= 1 and a + n <= have for a, n, have in zip(*box[:2], shape, strict=True))
        if not inside:
            raise ValueError(
                f"boxes must lie inside the volume of {shape} voxels, got box {number} of {box.size} voxels from "
                f"{box.first} on. Move it, or show the volume that it was cut from."
            )
        if box.value is not None and not math.isfinite(box.value):
            raise ValueError(f"boxes must have finite values, got {box.value} for box {number}. Leave the value out.")
        yield box


def _turned(values: Shaped[Tensor, "x y z"] | None, volume: Volume) -> Shaped[Tensor, "x y z"] | None:
    return None if values is None else to_ras(values.detach().cpu()[None], volume.affine)[0][0]


def _turned_box(box: Box, old: Volume, new: Volume) -> Box:
    """The same place in the axes of the turned volume."""
    first, size = torch.tensor(box.first).double(), torch.tensor(box.size).double()
    ends = torch.stack([first, first + size - 1])
    moved = torch.linalg.inv(new.affine) @ old.affine
    low, high = (ends @ moved[:3, :3].T + moved[:3, 3]).round().long().aminmax(dim=0)
    x, y, z = low.tolist()
    i, j, k = (high - low + 1).tolist()
    return Box((x, y, z), (i, j, k), box.value)
