"""A picture that tells which of its pixels was clicked, and which key was pressed on it."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets


class ClickablePicture(anywidget.AnyWidget):
    """A PNG in the front end, like `ipywidgets.Image`, which tells of no click.

    Its messages are ``{"kind": "click" or "hover", "x": …, "y": …}``, in pixels of the PNG from its upper left corner, and
    ``{"kind": "key", "key": "ArrowLeft"}`` for arrows and page keys; receive them with `on_msg`. The script comes with
    this package and asks nothing of a network.

    Attributes:
        value: The PNG's bytes.
        alt: What it shows, for those who do not see it.
        hint: What clicks and keys do; without one the picture cannot be focused and tells of neither.
        hovers: Whether to tell where the mouse rests.
    """

    _esm = Path(__file__).with_name("clickable.js")
    value = traitlets.Bytes().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    hint = traitlets.Unicode().tag(sync=True)
    hovers = traitlets.Bool(False).tag(sync=True)
