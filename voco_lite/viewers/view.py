"""One call for every way to look at a volume."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from jaxtyping import Float, Int
from torch import Tensor

from voco_lite.viewers.planes import Window
from voco_lite.viewers.webgl import has_front_end

if TYPE_CHECKING:
    from voco_lite.volumes import Volume

# Loaded when first used: each brings packages of its own.
BACKENDS = {"niivue": "niivue", "slices": "overlays", "plotly": "boxes3d", "static": "overlays", "itkwidgets": "itk"}
_ENVIRONMENT = "VOCO_VIEWER"


def view(
    volume: Volume | Tensor,
    labels: Int[Tensor, "x y z"] | None = None,
    boxes: Sequence[tuple[Any, ...]] = (),
    heat: Float[Tensor, "x y z"] | None = None,
    backend: str = "auto",
    window: Window | None = None,
) -> Any:
    """Look at a volume, with labels, crops and heat over it. The patient's right is on the left, whatever draws it.

    Every result also carries a PNG, which a saved notebook keeps, and which takes the place of a 3-D view in a browser
    without WebGL.

    Args:
        volume: A Volume, shown in millimetres; or a tensor (channel, x, y, z) or (x, y, z) in RAS, whose voxels count as
            1 mm.
        labels: Whole numbers on the volume's grid, such as ``volume.labels`` or a prediction; 0 stays uncoloured.
        boxes: Crops: (first voxel, size) or (first voxel, size, value), where a value in [0, 1] chooses the colour.
            `base_crop_boxes` makes those of a grid.
        heat: Values in [0, 1] on the volume's grid, black to yellow, 0 transparent; `heat_over` makes it of a lattice.
        backend: "niivue" (slices and 3-D render), "slices" (sliders, no WebGL), "plotly" (boxes over surfaces), "static"
            (one picture), "itkwidgets" (an extra), or "auto": `VOCO_VIEWER` where that is set, else niivue where a
            browser may be looking and ipyniivue is installed, else slices.
        window: Values shown black and white; None: as in `slices`.

    Raises:
        ValueError: An unknown backend, one that is not installed, or shapes, boxes or labels that do not fit the volume.
    """
    name = chosen_backend(backend)
    show = getattr(import_module(f"voco_lite.viewers.{BACKENDS[name]}"), f"show_{name}")
    return show(volume, labels=labels, boxes=boxes, heat=heat, window=window)


def chosen_backend(backend: str = "auto") -> str:
    """What "auto" comes to here; any other backend is itself.

    Raises:
        ValueError: There is none of that name.
    """
    named = os.environ.get(_ENVIRONMENT) or "auto" if backend == "auto" else backend
    if named == "auto":
        return "niivue" if has_front_end() and find_spec("ipyniivue") is not None else "slices"
    if named not in BACKENDS:
        origin = f" from {_ENVIRONMENT}" if named != backend else ""
        raise ValueError(f"backend must be auto or one of {', '.join(BACKENDS)}, got {named!r}{origin}.")
    return named
