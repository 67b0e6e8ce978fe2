"""A figure that keeps its frame: axes and their numbers are drawn once, what lies in them anew for every picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from voco_lite.viewers.pictures import Picture, canvas_picture
from voco_lite.viewers.planes import Panel, Plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from voco_lite.config import Size


class Stage:
    """Axes that are cleared and filled again for each picture, in less than half the time of a new figure.

    What is drawn into an axes, its title and its legend must be drawn again each time. Limits, ticks and their labels,
    and every other axes of the figure stay as they are at the first picture.

    Args:
        figure: With all of its axes, and a layout that needs no computing.
        axes: Those that change.
    """

    def __init__(self, figure: Figure, axes: Sequence[Any]) -> None:
        self.figure, self.axes = figure, list(axes)
        self._frame: Any = None

    def clear(self) -> None:
        """Take away what was drawn into the axes."""
        for axes in self.axes:
            for artist in _contents(axes):
                artist.remove()
            axes.containers.clear()  # of bars that are no longer there
            axes.set_title("")

    def picture(self, alt: str) -> Picture:
        """The picture of what was drawn since `clear`."""
        canvas: Any = self.figure.canvas
        if self._frame is None:
            self._frame = self._draw_frame(canvas)
        canvas.restore_region(self._frame)
        for axes in self.axes:
            for artist in sorted([axes.title, *_contents(axes)], key=lambda artist: artist.get_zorder()):
                axes.draw_artist(artist)
        return canvas_picture(canvas, alt)

    def panel(self, axes: Any, plane: Plane, level: int, shape: Size) -> Panel:
        """Where a slice that was drawn into an axes lies in the picture."""
        axes.apply_aspect()
        box, height = axes.get_window_extent(), self.figure.bbox.height
        return Panel(plane, level, shape, (box.x0, height - box.y1, box.width, box.height))

    def _draw_frame(self, canvas: Any) -> Any:
        contents = [artist for axes in self.axes for artist in (axes.title, *_contents(axes))]
        # Matplotlib leaves out what is animated, for those who draw it themselves.
        for artist in contents:
            artist.set_animated(True)
        canvas.draw()
        return canvas.copy_from_bbox(self.figure.bbox)


def _contents(axes: Any) -> list[Any]:
    legend = axes.get_legend()
    found = [*axes.images, *axes.patches, *axes.collections, *axes.lines, *axes.texts]
    return found if legend is None else [*found, legend]
