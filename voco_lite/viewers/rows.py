"""Slices painted in a row: the three through a point, or one of each of several volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from voco_lite.config import Size
from voco_lite.viewers.pictures import Picture, image_picture
from voco_lite.viewers.planes import (
    PLANES,
    Panel,
    Plane,
    Window,
    default_window,
    first_channel,
    grey,
    plane_named,
    spacing_of,
    take_slice,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from voco_lite.volumes import Volume

Over = Callable[["Image", Plane, tuple[int, int, int]], None]
_PANEL = 260  # pixels of the longest side of a slice
_GAP = 8
_LETTER, _CROSS, _BACK = (240, 228, 66), (230, 159, 0), (0, 0, 0)
# Okabe and Ito's without orange and yellow, which are those of boxes and crosses, and two of Tol's: indigo and wine.
LABEL_COLOURS = torch.tensor([[86, 180, 233], [213, 94, 0], [0, 158, 115], [204, 121, 167], [0, 114, 178],
                         [136, 34, 85], [51, 34, 136]], dtype=torch.float32)  # fmt: skip


def draw_planes(
    volume: Volume | Tensor,
    point: tuple[int, int, int],
    window: Window,
    labels: Tensor | None = None,
    opacity: float = 0.0,
    over: Over | None = None,
) -> Image:
    """Axial, coronal and sagittal slice through a point, in a row and at one scale in mm, with a cross at the point.

    Args:
        volume: As in `slices`.
        point: The voxel that all three slices go through.
        window: Values that are black and white.
        labels: Laid over in colour.
        opacity: Of the labels' colours, 0 to 1.
        over: Draws more onto a panel, whose edges are those of the slice: called with (panel, plane, point).
    """
    data, spacing, panels = first_channel(volume), spacing_of(volume), []
    scale = _PANEL / _extent(volume)
    for plane in PLANES.values():
        colours = _coloured(take_slice(data, plane, point[plane.across]), window)
        if labels is not None and opacity > 0:
            colours = _overlaid(colours, take_slice(labels, plane, point[plane.across]).cpu(), opacity)
        panel = _panel(colours, plane, spacing, scale)
        if over is not None:
            over(panel, plane, point)
        _cross(panel, plane, point, data.shape)
        panels.append(panel)
    return _in_a_row(panels, [])


def plane_panels(volume: Volume | Tensor, point: Size) -> list[Panel]:
    """Where the slices lie in the picture of `draw_planes`."""
    (x, y, z), spacing, left, panels = first_channel(volume).shape, spacing_of(volume), 0, []
    scale = _PANEL / _extent(volume)
    for plane in PLANES.values():
        width, height = _size(plane, (x, y, z), spacing, scale)
        panels.append(Panel(plane, point[plane.across], (x, y, z), (left, 0, width, height)))
        left += width + _GAP
    return panels


def side_by_side(
    volumes: Sequence[Volume | Tensor],
    titles: Sequence[str] = (),
    plane: str = "axial",
    windows: Sequence[Window] | Window | None = None,
    position: float = 0.5,
    opacity: float = 0.0,
) -> Picture:
    """One slice of each volume in a row, all at one scale in mm.

    Args:
        volumes: What to compare.
        titles: One for each.
        plane: "axial", "coronal" or "sagittal".
        windows: One for all, or one for each; None: as in `slices`.
        position: Where to cut, as a share of the axis: 0 to 1.
        opacity: Of the labels' colours, 0 to 1.

    Raises:
        ValueError: No volume, another plane, or a position outside 0 to 1.
    """
    if not volumes or not 0 <= position <= 1:
        raise ValueError(f"expected at least 1 volume and a position in [0, 1], got {len(volumes)} and {position}.")
    cut = plane_named(plane)
    each = [windows] * len(volumes) if windows is None or not isinstance(windows[0], Sequence) else windows
    extents = [_extent(volume) for volume in volumes]
    panels = []
    for volume, window in zip(volumes, each, strict=True):
        data, labels = first_channel(volume), getattr(volume, "labels", None)
        index = round(position * (data.shape[cut.across] - 1))
        colours = _coloured(take_slice(data, cut, index), window or default_window(volume))  # type: ignore[arg-type]
        if labels is not None and opacity > 0:
            colours = _overlaid(colours, take_slice(labels, cut, index).cpu(), opacity)
        panels.append(_panel(colours, cut, spacing_of(volume), _PANEL / max(extents)))
    named = ", ".join(titles) or f"{len(volumes)} volumes"
    alt = f"{cut.name.capitalize()} slices side by side: {named}; {cut.letters[0]} of the patient is on the left."
    return image_picture(_in_a_row(panels, titles), alt)


def _extent(volume: Volume | Tensor) -> float:
    return max(n * mm for n, mm in zip(first_channel(volume).shape, spacing_of(volume), strict=True))


def _coloured(values: Tensor, window: Window) -> UInt8[Tensor, "rows columns 3"]:
    low, high = window
    return grey(values, (low, max(high, low + 1e-6)))[..., None].expand(*values.shape, 3)


def _overlaid(colours: Tensor, labels: Tensor, opacity: float) -> UInt8[Tensor, "rows columns 3"]:
    """Labels in seven colours in turn; unlabelled voxels stay grey."""
    chosen = LABEL_COLOURS[(labels.long() - 1) % len(LABEL_COLOURS)]
    mixed = (1 - opacity) * colours.float() + opacity * chosen
    return torch.where((labels > 0)[..., None], mixed, colours.float()).round().to(torch.uint8)


def _size(
    plane: Plane, shape: Size | dict[int, int], spacing: tuple[float, float, float], scale: float
) -> tuple[int, int]:
    """Width and height of a slice in pixels."""
    width, height = (max(round(shape[axis] * spacing[axis] * scale), 1) for axis in (plane.columns, plane.rows))
    return width, height


def _panel(colours: Tensor, plane: Plane, spacing: tuple[float, float, float], scale: float) -> Image:
    """A slice in true proportions, with the patient's sides at its borders."""
    from PIL import Image, ImageDraw, ImageFont

    rows, columns = colours.shape[:2]
    size = _size(plane, {plane.columns: columns, plane.rows: rows}, spacing, scale)
    panel = Image.fromarray(np.ascontiguousarray(colours.numpy())).resize(size, Image.Resampling.BILINEAR)
    draw, font = ImageDraw.Draw(panel), ImageFont.load_default(14)
    middle_x, middle_y = size[0] / 2, size[1] / 2
    spots = ((10, middle_y), (size[0] - 10, middle_y), (middle_x, 10), (middle_x, size[1] - 10))
    for letter, spot in zip(plane.letters, spots, strict=True):
        draw.text(spot, letter, fill=_LETTER, font=font, anchor="mm", stroke_width=2, stroke_fill=_BACK)
    return panel


def _cross(panel: Image, plane: Plane, point: tuple[int, int, int], shape: Sequence[int]) -> None:
    """Lines through the point, with a gap around it."""
    from PIL import ImageDraw

    draw, gap = ImageDraw.Draw(panel), 6
    x = (1 - (point[plane.columns] + 0.5) / shape[plane.columns]) * panel.width
    y = (1 - (point[plane.rows] + 0.5) / shape[plane.rows]) * panel.height
    for line in (
        ((0, y), (x - gap, y)),
        ((x + gap, y), (panel.width, y)),
        ((x, 0), (x, y - gap)),
        ((x, y + gap), (x, panel.height)),
    ):
        draw.line(line, fill=_CROSS)


def _in_a_row(panels: Sequence[Image], titles: Sequence[str]) -> Image:
    from PIL import Image, ImageDraw, ImageFont

    top, font = (24 if titles else 0), ImageFont.load_default(14)
    width = sum(panel.width for panel in panels) + _GAP * (len(panels) - 1)
    whole = Image.new("RGB", (width, top + max(panel.height for panel in panels)), "white")
    draw, left = ImageDraw.Draw(whole), 0
    for i, panel in enumerate(panels):
        if i < len(titles):
            draw.text((left + panel.width / 2, top / 2), titles[i], fill=_BACK, font=font, anchor="mm")
        whole.paste(panel, (left, top))
        left += panel.width + _GAP
    return whole
