"""Pictures that show themselves in a notebook, and still do when it was saved, converted or run in a batch."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets

from voco_lite.viewers.clickable import ClickablePicture

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

# Okabe and Ito's colours, which remain apart for colour-blind eyes.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PINK = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
DPI = 96


@dataclass(frozen=True)
class Picture:
    """A finished picture with its words.

    Attributes:
        png: The file's bytes.
        alt: What it shows, for those who do not see it.
    """

    png: bytes
    alt: str

    def save(self, path: str | Path) -> Path:
        """Write the PNG file; its folder is made when it is not there."""
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(self.png)
        return place

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        return mimebundle(self.png, self.alt)


class PictureBox(ipywidgets.VBox):
    """Controls with a picture that answers to them; a saved notebook keeps the picture of the moment it was shown.

    A box whose picture answers to clicks, keys or the mouse too overrides `click`, `press` or `hover`.

    Args:
        controls: Above the picture.
        hint: What clicks and keys do; empty where the picture answers to none.
        hovers: Whether it answers to the resting mouse.

    Attributes:
        image: The picture.
        caption: Its words, as live text below it.
        alt: What the picture shows now.
    """

    def __init__(self, controls: Sequence[ipywidgets.Widget], hint: str = "", hovers: bool = False) -> None:
        self.image = ClickablePicture(hint=hint, hovers=hovers)
        self.image.on_msg(self._answer)
        self.caption = ipywidgets.HTML()
        self.alt = ""
        super().__init__([*controls, self.image, self.caption])

    def show(self, picture: Picture, words: str) -> None:
        """Replace the picture and its words."""
        self.alt = self.image.alt = picture.alt
        self.image.value = picture.png
        self.caption.value = f'<div role="status">{html.escape(words, quote=False)}</div>'

    def click(self, x: float, y: float) -> None:
        """Answer to a click on a pixel of the picture, counted from its upper left corner."""

    def hover(self, x: float, y: float) -> None:
        """Answer to the mouse that rests on a pixel."""

    def press(self, key: str) -> None:
        """Answer to a key, named as browsers do: "ArrowLeft", "PageUp"."""

    def _answer(self, _: Any, message: dict[str, Any], __: Any) -> None:
        if message["kind"] == "key":
            self.press(message["key"])
        else:
            {"click": self.click, "hover": self.hover}[message["kind"]](float(message["x"]), float(message["y"]))

    @property
    def picture(self) -> Picture:
        """The picture shown now, to save it."""
        return Picture(bytes(self.image.value), self.alt)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        widget = super()._repr_mimebundle_(**kwargs)
        data, metadata = mimebundle(bytes(self.image.value), self.alt)
        return {**(widget or {}), **data}, metadata


def mimebundle(png: bytes, alt: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Data and metadata of a display: the picture, and its words as plain text."""
    return {"image/png": base64.b64encode(png).decode(), "text/plain": alt}, {"image/png": {"alt": alt}}


def new_figure(width: float, height: float, quick: bool = False) -> Figure:
    """A figure of this many inches that no global state knows; a quick one leaves its layout to the caller."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout=None if quick else "constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_picture(figure: Figure, alt: str) -> Picture:
    """The picture of a finished figure."""
    canvas: Any = figure.canvas
    canvas.draw()
    return canvas_picture(canvas, alt)


def canvas_picture(canvas: Any, alt: str) -> Picture:
    """The picture of what was drawn on a figure's canvas."""
    from PIL import Image

    drawn = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba(), "raw", "RGBA", 0, 1)
    # Figures are opaque: without the fourth channel the file is smaller.
    return image_picture(drawn.convert("RGB"), alt)


def image_picture(image: Image, alt: str) -> Picture:
    """The picture of a finished image."""
    buffer = io.BytesIO()
    # Half the time of the default, for a twentieth more bytes.
    image.save(buffer, format="png", compress_level=2)
    return Picture(buffer.getvalue(), alt)
