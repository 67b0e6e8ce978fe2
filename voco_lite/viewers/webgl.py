"""Ask the browser whether it can draw in 3-D (WebGL 2), and fall back to a picture where it cannot."""

from __future__ import annotations

import os
import sys
from html import escape
from typing import Any

import anywidget
import ipywidgets
import traitlets

from voco_lite.viewers.pictures import Picture, PictureBox

_ASK = """
function render({ model }) {
    const gl = document.createElement("canvas").getContext("webgl2");
    if (gl) {
        const info = gl.getExtension("WEBGL_debug_renderer_info");
        model.set("renderer", String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER)));
        // A page may hold few contexts: this one is given back.
        gl.getExtension("WEBGL_lose_context")?.loseContext();
    }
    model.set("can_draw", Boolean(gl));
    model.save_changes();
}
export default { render };
"""
HEADLESS = "VOCO_HEADLESS"  # environment: no browser is looking
_SOFTWARE = ("swiftshader", "llvmpipe", "software", "basic render")


class WebGLProbe(anywidget.AnyWidget):
    """Asks the browser once it is shown; takes no room itself.

    Attributes:
        can_draw: Whether there is WebGL 2; None before a browser has answered.
        renderer: What draws, in the browser's words.
    """

    _esm = _ASK
    can_draw = traitlets.Bool(None, allow_none=True).tag(sync=True)
    renderer = traitlets.Unicode("").tag(sync=True)

    @property
    def words(self) -> str:
        """The answer in plain words."""
        slices = "The slices and every explorer work in any browser."
        if self.can_draw is None:
            return f"3-D views: not asked yet: no browser. {slices}"
        if not self.can_draw:
            return (
                f"3-D views (niivue, plotly): no, this browser has no WebGL 2. {slices} "
                'Ask for them with viewers.view(…, backend="slices").'
            )
        slow = any(word in self.renderer.lower() for word in _SOFTWARE)
        how = ", without a graphics card: they work, but slowly" if slow else ""
        return f"3-D views (niivue, plotly): yes, drawn by {self.renderer}{how}. {slices}"


class WebGLReport(ipywidgets.VBox):
    """A line of text that says what this browser will show; see `webgl_report`.

    Attributes:
        probe: Asks the browser.
        line: The words, live.
    """

    def __init__(self) -> None:
        self.probe, self.line = WebGLProbe(), ipywidgets.HTML()
        super().__init__([self.probe, self.line])
        self.probe.observe(self._tell, names=["can_draw", "renderer"])
        self._tell()

    def _tell(self, _: Any = None) -> None:
        self.line.value = f'<div role="status">{escape(self.probe.words)}</div>'

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return {**(super()._repr_mimebundle_(**kwargs) or {}), "text/plain": self.probe.words}


def webgl_report() -> WebGLReport:
    """Ask the browser for WebGL and say in plain words what will work."""
    return WebGLReport()


class LiveBox(PictureBox):
    """A still picture whose place a viewer takes as soon as the browser has answered that it has WebGL.

    A viewer without WebGL would stay blank, and some raise an error in the page.

    Attributes:
        viewer: The widget that needs WebGL.
        probe: Asks the browser.
    """

    def __init__(self, viewer: ipywidgets.Widget, still: Picture, words: str) -> None:
        self.viewer, self.probe, self._words = viewer, WebGLProbe(), words
        super().__init__([self.probe])
        self.show(still, still.alt)
        self.probe.observe(self._answered, names="can_draw")

    def _answered(self, _: Any = None) -> None:
        if self.probe.can_draw:
            self.children = [self.probe, self.viewer, self.caption]
            self.show(self.picture, self._words)
        else:
            # Another browser may have answered before, with the viewer in the picture's place.
            self.children = [self.probe, self.image, self.caption]
            self.show(self.picture, f"This browser has no WebGL: a still picture instead. {self.alt}")


def has_front_end() -> bool:
    """Whether somebody may be looking: a notebook's kernel that was not told otherwise by `VOCO_HEADLESS`."""
    if os.environ.get(HEADLESS):
        return False
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    return getattr(running, "kernel", None) is not None
