"""Three slices with labels, boxes and heat: to browse, or as a still picture. No WebGL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from voco_lite.config import Size
from voco_lite.viewers.pictures import Picture, image_picture
from voco_lite.viewers.planes import Plane, Window, take_slice
from voco_lite.viewers.rows import draw_planes
from voco_lite.viewers.scene import Box, Scene, make_scene
from voco_lite.viewers.slices import SliceBrowser, describe_voxel

if TYPE_CHECKING:
    from PIL.Image import Image

    from voco_lite.volumes import Volume

OPACITY = 0.4  # of labels
HEAT_OPACITY = 0.7  # of the largest heat; less heat lets more anatomy through
_BLACK = (0, 0, 0)


def show_slices(
    volume: Volume | Tensor,
    labels: Int[Tensor, "x y z"] | None = None,
    boxes: Sequence[tuple[Any, ...]] = (),
    heat: Float[Tensor, "x y z"] | None = None,
    window: Window | None = None,
) -> SliceBrowser:
    """The slice browser with boxes and heat on it; arguments and errors as in `view`."""
    scene = make_scene(volume, labels, boxes, heat, window)
    browser = SliceBrowser(scene.volume, scene.window, OPACITY if scene.labels is not None else 0.0, drawer(scene))
    browser.move(*scene.point)
    return browser


def show_static(
    volume: Volume | Tensor,
    labels: Int[Tensor, "x y z"] | None = None,
    boxes: Sequence[tuple[Any, ...]] = (),
    heat: Float[Tensor, "x y z"] | None = None,
    window: Window | None = None,
) -> Picture:
    """A picture of three slices; arguments and errors as in `view`."""
    return still(make_scene(volume, labels, boxes, heat, window))


def still(scene: Scene) -> Picture:
    """Three slices through the point where to look first."""
    whole = draw_planes(scene.volume, scene.point, scene.window, scene.labels, OPACITY, drawer(scene))
    alt = (
        f"{scene.words}. Axial, coronal and sagittal slice through {describe_voxel(scene.volume, scene.point)}; "
        "the patient's right is on the left."
    )
    return image_picture(whole, alt)


def drawer(scene: Scene) -> Any:
    """What draws the scene's heat and boxes onto a panel of `draw_planes`."""

    def draw(panel: Image, plane: Plane, point: Size) -> None:
        if scene.heat is not None:
            _draw_heat(panel, take_slice(scene.heat, plane, point[plane.across]))
        for box in scene.boxes:
            if box.first[plane.across] <= point[plane.across] < box.first[plane.across] + box.size[plane.across]:
                _draw_box(panel, box, plane, scene.volume.shape)

    return draw


def _draw_heat(panel: Image, heat: Float[Tensor, "rows columns"]) -> None:
    """Black to yellow for 0 to 1, and the less heat, the more of the anatomy."""
    from matplotlib import colormaps
    from PIL import Image

    colours = colormaps["inferno"](heat.numpy(), bytes=True)
    colours[..., 3] = np.round(255 * HEAT_OPACITY * heat.numpy())
    layer = Image.fromarray(colours).resize(panel.size, Image.Resampling.BILINEAR)
    panel.paste(layer, mask=layer.getchannel("A"))


def _draw_box(panel: Image, box: Box, plane: Plane, shape: Size) -> None:
    """The rectangle that a slice cuts out of a box, on a black rim."""
    from PIL import ImageDraw

    draw, ends = ImageDraw.Draw(panel), []
    for axis, length in ((plane.columns, panel.width), (plane.rows, panel.height)):
        scale = length / shape[axis]
        # The high end of both axes is at the left and at the top.
        ends.append([length - scale * (box.first[axis] + box.size[axis]), length - scale * box.first[axis] - 1])
    (left, right), (top, bottom) = ends
    width = 2 if box.value is None else 1 + round(2 * min(max(box.value, 0.0), 1.0))
    draw.rectangle((left, top, right, bottom), outline=_BLACK, width=width + 2)
    draw.rectangle((left + 1, top + 1, right - 1, bottom - 1), outline=box.colour, width=width)
