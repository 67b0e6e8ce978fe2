"""What a crop is called: the region of the body that it lies in, and its organ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Int
from torch import Tensor

from voco_lite.config import Size
from voco_lite.crops import CropGrid

if TYPE_CHECKING:
    from voco_lite.volumes import Volume

_SIDES = (("left", "", "right"), ("back", "", "front"), ("low", "", "high"))
_UNNAMED = "nothing named"


def region_name(number: int, regions: Size) -> str:
    """A region in words where axes have three cells, such as "right front"; else its indices."""
    index = (number // (regions[1] * regions[2]), number // regions[2] % regions[1], number % regions[2])
    if not set(regions) <= {1, 3} or max(regions) == 1:
        return f"region {index}"
    words = [names[i] for names, i, n in zip(_SIDES, index, regions, strict=True) if n == 3]
    return " ".join(word for word in words if word) or "centre"


def organ_name(volume: Volume, start: Int[Tensor, "3"], grid: CropGrid) -> str:
    """The named organ that fills most of a crop's middle half."""
    if volume.labels is None:
        return _UNNAMED
    first = [int(s) + n // 4 for s, n in zip(start, grid.crop_size, strict=True)]
    x, y, z = (slice(a, a + max(n // 2, 1)) for a, n in zip(first, grid.crop_size, strict=True))
    found = volume.labels[x, y, z]
    if not bool((found > 0).any()):
        return _UNNAMED
    number = int(found[found > 0].mode().values)
    return str(volume.label_names.get(number, f"label {number}")).replace("_", " ")
