"""A picture of slices in which three sliders, a click, or the arrow keys move one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets

from voco_lite.config import Size
from voco_lite.viewers.pictures import PictureBox
from voco_lite.viewers.planes import PLANES, Panel

HINT = "Click a slice. Or focus the picture, and move by the arrow keys, and through the slices by page up and down."


class MovableBox(PictureBox):
    """Sliders along x, y and z, and a picture of slices that move them when clicked.

    A click changes the two axes that the slice shows. Arrow keys go by one voxel in the slice that was clicked last, at
    first the first one, as seen on the screen.

    Args:
        sliders: Along x, y and z.
        controls: Above the picture.
        offset: From the sliders' values to the voxel in the slices that is moved.

    Attributes:
        sliders: Along x, y and z.
        panels: Slices that can be clicked, as they lie in the picture.
    """

    def __init__(
        self,
        sliders: Sequence[ipywidgets.IntSlider],
        controls: Sequence[ipywidgets.Widget] = (),
        offset: Size = (0, 0, 0),
    ) -> None:
        self.sliders, self.panels, self._offset = list(sliders), list[Panel](), offset
        self._plane, self._moves = PLANES["axial"], False
        super().__init__([ipywidgets.HBox(self.sliders), *controls], hint=HINT)
        for slider in self.sliders:
            slider.observe(self._moved, names="value")

    @property
    def point(self) -> Size:
        """Where the sliders stand."""
        x, y, z = (int(slider.value) for slider in self.sliders)
        return x, y, z

    def move(self, x: int | None = None, y: int | None = None, z: int | None = None) -> None:
        """Go somewhere, as the sliders do; what lies beyond their ends becomes the end. One picture is drawn."""
        before, self._moves = self.point, True
        try:
            for slider, value in zip(self.sliders, (x, y, z), strict=True):
                if value is not None:
                    slider.value = value
        finally:
            self._moves = False
        if self.point != before:
            self._draw()

    def click(self, x: float, y: float) -> None:
        """Go to the voxel that a pixel shows; outside the slices, stay."""
        for panel in self.panels:
            voxel = panel.voxel(x, y)
            if voxel is not None:
                self._plane = panel.plane
                self._go({axis: voxel[axis] - self._offset[axis] for axis in (panel.plane.columns, panel.plane.rows)})

    def press(self, key: str) -> None:
        """Go one voxel in the direction of an arrow key, or one slice by page up and down."""
        step = self._plane.step(key)
        if step is not None:
            axis, direction = step
            self._go({axis: self.point[axis] + direction})

    def _go(self, values: dict[int, int]) -> None:
        x, y, z = (values.get(axis) for axis in range(3))
        self.move(x, y, z)

    def _moved(self, _: Any) -> None:
        if not self._moves:
            self._draw()

    def _draw(self, _: Any = None) -> None:
        raise NotImplementedError
