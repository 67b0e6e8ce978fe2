"""Boxes over the surface of the body, by plotly: turn it, and hover over a box to read its place and share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from voco_lite.config import Size
from voco_lite.viewers.overlays import still
from voco_lite.viewers.pictures import GREEN
from voco_lite.viewers.planes import Window
from voco_lite.viewers.scene import Box, Scene, make_scene
from voco_lite.viewers.webgl import LiveBox

if TYPE_CHECKING:
    from plotly.graph_objects import FigureWidget

    from voco_lite.volumes import Volume

_POINTS = 32  # along an axis at most: every point of the surfaces' grid travels with its place
_SKIN = 0.1  # of the window: above air, below fat
_HALF = 0.5
# One line along all twelve edges of a box, as corners (x, y, z) that are 0 or 1; three edges are drawn twice.
_PATH = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 0, 0], [1, 0, 1],
                  [1, 1, 1], [1, 1, 0], [1, 1, 1], [0, 1, 1], [0, 1, 0], [0, 1, 1], [0, 0, 1]])  # fmt: skip
_NAMES = ("x in mm, to the right", "y in mm, to the front", "z in mm, to the head")


def show_plotly(
    volume: Volume | Tensor,
    labels: Int[Tensor, "x y z"] | None = None,
    boxes: Sequence[tuple[Any, ...]] = (),
    heat: Float[Tensor, "x y z"] | None = None,
    window: Window | None = None,
) -> LiveBox:
    """Boxes, and the surfaces of body, labels and heat; arguments and errors as in `view`."""
    scene = make_scene(volume, labels, boxes, heat, window)
    words = (
        f"{scene.words}. Seen from the front: the patient's right is on the left. Drag to turn, scroll to come closer, "
        "hover over a box to read its place."
    )
    return LiveBox(figure(scene), still(scene), words)


def figure(scene: Scene) -> FigureWidget:
    """The scene in millimetres along its axes, seen from the patient's front."""
    import plotly.graph_objects as go

    made = go.FigureWidget()
    data, (low, high) = scene.volume.data[0], scene.window
    _add_surface(made, scene, data, low + _SKIN * (high - low), "#B0A8A0", 0.25, "body")
    if scene.labels is not None:
        _add_surface(made, scene, (scene.labels > 0).float(), _HALF, GREEN, 0.35, "labels")
    if scene.heat is not None and float(scene.heat.max()) > 0:
        top = float(scene.heat.max())
        _add_surface(made, scene, scene.heat, 0.8 * top, "#ED6925", 0.6, f"heat above {0.8 * top:.2f}")
    for number, box in enumerate(scene.boxes):
        _add_box(made, scene.volume, box, number)
    axes = {f"{letter}axis": {"title": {"text": name}} for letter, name in zip("xyz", _NAMES, strict=True)}
    # From the front, +y, the patient's right is on the left of the screen.
    camera = {"eye": {"x": 0.5, "y": 2.2, "z": 0.7}, "center": {"x": 0, "y": 0, "z": -0.1}}
    made.update_layout(width=760, height=560, margin={"l": 0, "r": 0, "t": 0, "b": 0}, legend={"x": 0, "y": 1},
                       scene={**axes, "aspectmode": "data", "camera": camera})  # fmt: skip
    return made


def coarse(values: Float[Tensor, "x y z"], points: int = _POINTS) -> tuple[Float[Tensor, "i j k"], list[ndarray]]:
    """Means of blocks, at most so many along an axis, and the blocks' middles along each axis in voxel indices."""
    size: Size = tuple(min(n, points) for n in values.shape)  # type: ignore[assignment]
    means = F.adaptive_avg_pool3d(values[None].float(), size)[0]
    # Blocks of adaptive pooling reach from floor(i n / m) to ceil((i + 1) n / m).
    middles = [
        np.array([(i * n // m + -(-(i + 1) * n // m) - 1) / 2 for i in range(m)])
        for n, m in zip(values.shape, size, strict=True)
    ]
    return means, middles


def along_axes(volume: Volume, places: Sequence[ndarray] | ndarray) -> list[ndarray]:
    """Voxel indices along each axis as mm from the middle of the scan's coordinates: RAS mm where no axis is oblique."""
    offset = volume.affine[:3, 3].tolist()
    return [place * mm + start for place, mm, start in zip(places, volume.spacing, offset, strict=True)]


def _add_surface(
    made: FigureWidget, scene: Scene, values: Tensor, level: float, colour: str, opacity: float, name: str
) -> None:
    means, middles = coarse(values)
    if not float(means.min()) < level < float(means.max()):
        return  # there is no surface
    # A rim below the level closes surfaces at the volume's border.
    closed = F.pad(means, (1, 1, 1, 1, 1, 1), value=float(means.min()))
    rims = [np.concatenate([[2 * m[0] - m[1]], m, [2 * m[-1] - m[-2]]]) if len(m) > 1 else _rim(m) for m in middles]
    x, y, z = (grid.ravel().astype(np.float32) for grid in np.meshgrid(*along_axes(scene.volume, rims), indexing="ij"))
    made.add_isosurface(
        x=x, y=y, z=z, value=closed.numpy().ravel().astype(np.float32), isomin=level, isomax=level, surface_count=1,
        colorscale=[[0, colour], [1, colour]], showscale=False, opacity=opacity, name=name, showlegend=True,
        hoverinfo="skip", caps={f"{axis}_show": False for axis in "xyz"},
    )  # fmt: skip


def _rim(middle: ndarray) -> ndarray:
    return np.array([middle[0] - 1, middle[0], middle[0] + 1])


def _add_box(made: FigureWidget, volume: Volume, box: Box, number: int) -> None:
    corners = np.array(box.first) - 0.5 + _PATH * np.array(box.size)
    x, y, z = along_axes(volume, corners.T)
    share = "" if box.value is None else f", value {box.value:.2f}"
    thickness = 5 if box.value is None else 2 + 4 * min(max(box.value, 0.0), 1.0)
    made.add_scatter3d(
        x=x, y=y, z=z, mode="lines", line={"color": "rgb({}, {}, {})".format(*box.colour), "width": thickness},
        name=f"box {number}", showlegend=False, hoverinfo="text",
        text=f"box {number}: {' × '.join(map(str, box.size))} voxels from {box.first} on{share}",
    )  # fmt: skip
