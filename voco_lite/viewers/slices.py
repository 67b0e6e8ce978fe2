"""Look at a volume: three slices through one point, moved by sliders, clicks and arrow keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets
import torch
from torch import Tensor

from voco_lite.viewers.movable import MovableBox
from voco_lite.viewers.pictures import image_picture
from voco_lite.viewers.planes import Window, default_window, first_channel
from voco_lite.viewers.rows import Over, draw_planes, plane_panels

if TYPE_CHECKING:
    from voco_lite.volumes import Volume

_SIDES = (("R", "L"), ("A", "P"), ("S", "I"))


class SliceBrowser(MovableBox):
    """Three slices through one point, which sliders, clicks and arrow keys move; see `slices`.

    Attributes:
        sliders: The point's x, y and z, in voxels.
        window: Values that are black and white.
        opacity: Of the labels' colours; None where there are no labels.
        over: Draws more onto each slice; None: nothing.
    """

    def __init__(
        self, volume: Volume | Tensor, window: Window | None = None, opacity: float = 0.0, over: Over | None = None
    ) -> None:
        self.volume, self.data, self.over = volume, first_channel(volume), over
        self.labels: Tensor | None = getattr(volume, "labels", None)
        sliders = [
            ipywidgets.IntSlider(n // 2, 0, n - 1, description=name)
            for name, n in zip("xyz", self.data.shape, strict=True)
        ]
        self.window = window_slider(volume, window or default_window(volume))
        self.opacity = ipywidgets.FloatSlider(opacity, min=0, max=1, step=0.1, description="labels")
        controls = [self.window] if self.labels is None else [self.window, self.opacity]
        super().__init__(sliders, [ipywidgets.HBox(controls)])
        for control in controls:
            control.observe(self._draw, names="value")
        self._draw()

    def _draw(self, _: Any = None) -> None:
        point, opacity = self.point, float(self.opacity.value)
        whole = draw_planes(self.volume, point, self.window.value, self.labels, opacity, self.over)
        self.panels = plane_panels(self.volume, point)
        words = describe_voxel(self.volume, point)
        alt = f"Axial, coronal and sagittal slice through {words}; the patient's right is on the left."
        self.show(image_picture(whole, alt), words)


def slices(volume: Volume | Tensor, window: Window | None = None, opacity: float = 0.0) -> SliceBrowser:
    """Browse a volume: sliders, clicks and arrow keys move a point, a range sets the window, labels can be laid over it.

    Args:
        volume: A Volume, or a tensor (channel, x, y, z) or (x, y, z) in RAS.
        window: Values shown black and white; None: -175 to 250 for HU, else the volume's range.
        opacity: Of the labels' colours at the start, 0 to 1.
    """
    return SliceBrowser(volume, window, opacity)


def describe_voxel(volume: Volume | Tensor, point: tuple[int, int, int]) -> str:
    """Index, place in mm, value and organ of a voxel, in one line."""
    parts = [f"voxel {point}"]
    if not isinstance(volume, Tensor):
        place = volume.affine.double() @ torch.tensor([*point, 1], dtype=torch.float64)
        sides = [
            f"{pair[0] if mm >= 0 else pair[1]} {abs(mm):.0f}" for pair, mm in zip(_SIDES, place.tolist(), strict=False)
        ]
        parts.append(", ".join(sides) + " mm")
    value, units = float(first_channel(volume)[point]), getattr(volume, "units", "")
    parts.append(f"{value:.0f} HU" if units == "HU" else f"value {value:.2f}")
    labels = getattr(volume, "labels", None)
    if labels is not None and int(labels[point]):
        number = int(labels[point])
        parts.append(str(getattr(volume, "label_names", {}).get(number, f"label {number}")).replace("_", " "))
    return " · ".join(parts)


def window_slider(volume: Volume | Tensor, window: Window) -> ipywidgets.FloatRangeSlider:
    """A slider for the values that are black and white: all of a CT's for HU, else the given ones."""
    in_hu = getattr(volume, "units", "") == "HU"
    low, high = (min(-1025.0, window[0]), max(1500.0, window[1])) if in_hu else window
    return ipywidgets.FloatRangeSlider(
        value=window,
        min=low,
        max=high,
        step=25 if in_hu else (high - low) / 100,
        readout_format=".0f" if in_hu else ".2f",
        description="window",
    )
