"""Pictures that show themselves in a notebook, and still do when it was saved, converted or run in a batch."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets

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

    Attributes:
        image: The picture.
        caption: Its words, as live text below it.
        alt: What the picture shows now.
    """

    def __init__(self, controls: Sequence[ipywidgets.Widget]) -> None:
        self.image = ipywidgets.Image(format="png")
        self.caption = ipywidgets.HTML()
        self.alt = ""
        super().__init__([*controls, self.image, self.caption])

    def show(self, picture: Picture, words: str) -> None:
        """Replace the picture and its words."""
        self.alt = picture.alt
        self.image.value = picture.png
        self.caption.value = f'<div role="status">{words}</div>'

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
    buffer = io.BytesIO()
    # Without the version of matplotlib in it, the same figure gives the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return Picture(buffer.getvalue(), alt)


def image_picture(image: Image, alt: str) -> Picture:
    """The picture of a finished image."""
    buffer = io.BytesIO()
    image.save(buffer, format="png")
    return Picture(buffer.getvalue(), alt)
