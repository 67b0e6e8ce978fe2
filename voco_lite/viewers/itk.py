"""The itkwidgets viewer: a volume render with slices, by itk-vtk-viewer in the browser, from files that lie here.

It is an extra with an environment of its own, and it waits for a browser: so everything that it needs is asked for first.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from packaging.specifiers import SpecifierSet
from torch import Tensor

from voco_lite.viewers.itk_bundle import bundle_in_use
from voco_lite.viewers.overlays import still
from voco_lite.viewers.pictures import Picture
from voco_lite.viewers.planes import Window
from voco_lite.viewers.scene import Scene, make_scene
from voco_lite.viewers.webgl import has_front_end

if TYPE_CHECKING:
    from voco_lite.volumes import Volume

# Those of the extra: the stable itkwidgets draws nothing in JupyterLab 4, and a newer ngff-zarr cannot write for this one.
PINS = {"itkwidgets": "==1.0a55", "ngff-zarr": "<0.13", "imjoy-jupyterlab-extension": "==0.2.6"}
INSTALL = 'pip install "voco-lite[itkwidgets]" in an environment of its own'
PATIENCE_S = 90.0
_LEVELS = 1000
_OTHERS = 'backend="niivue" or backend="slices"'


@dataclass(frozen=True)
class ItkView(Picture):
    """What stays in a saved notebook, three slices, and the viewer above it.

    Attributes:
        viewer: Of itkwidgets: `viewer.set_view_mode("ZPlane")` and all else that it offers.
    """

    viewer: Any


def show_itkwidgets(
    volume: Volume | Tensor,
    labels: Int[Tensor, "x y z"] | None = None,
    boxes: Sequence[tuple[Any, ...]] = (),
    heat: Float[Tensor, "x y z"] | None = None,
    window: Window | None = None,
) -> ItkView:
    """A volume render by itkwidgets, with labels in colour; arguments as in `view`, but neither boxes nor heat.

    HU are shown as they are, other values in thousandths of the window. Later cells wait until the viewer is there,
    at most ``PATIENCE_S`` seconds.

    Raises:
        ValueError: As `view`; boxes or heat; no browser, packages of other versions, or no files of the viewer.
    """
    if boxes or heat is not None:
        raise ValueError(f'backend "itkwidgets" draws no boxes and no heat. Take {_OTHERS}, or leave them out.')
    require_browser()
    require_packages()
    if not bundle_in_use():
        raise ValueError(
            "The files of the itkwidgets viewer must lie on JUPYTER_PATH, or it would ask the internet for them. Run "
            "`python -m voco_lite.viewers.itk_bundle FOLDER`, then start Jupyter with JUPYTER_PATH=FOLDER."
        )
    scene = make_scene(volume, labels, window=window)
    picture = still(scene)
    viewer = importlib.import_module("itkwidgets").view(**arguments(scene))
    _let_cells_go_on(viewer)
    return ItkView(picture.png, picture.alt, viewer)


def require_browser() -> None:
    """Raise ValueError where nobody looks: itkwidgets would make every later cell wait for ever.

    A page sends its requests without a user's name, whereas papermill, nbclient and consoles send one.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    header = getattr(shell, "parent_header", None) or {}
    asked_by_page = header.get("header", {}).get("username") == ""
    if os.environ.get("CI") or not has_front_end() or not asked_by_page:
        raise ValueError(
            'backend "itkwidgets" needs a notebook that is open in JupyterLab; under papermill, in CI or with '
            f"VOCO_HEADLESS nobody answers it. Take {_OTHERS} there."
        )


def require_packages() -> None:
    """Raise ValueError unless the packages of the extra are installed in versions that work."""
    for package, wanted in PINS.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "none"
        if found == "none" or not SpecifierSet(wanted).contains(found, prereleases=True):
            raise ValueError(
                f'backend "itkwidgets" needs {package}{wanted}, got {found}. Run {INSTALL}, or take {_OTHERS}.'
            )


def arguments(scene: Scene) -> dict[str, Any]:
    """What `itkwidgets.view` is given: at most 2 bytes a voxel of the image, 1 of up to 255 labels."""
    low, high = scene.window
    values = scene.volume.data[0].numpy()
    if scene.volume.units != "HU":
        values, low, high = _LEVELS * (values - low) / (high - low), 0.0, float(_LEVELS)
    whole = np.iinfo(np.int16)
    given = {"image": image_in_lps(values.round().clip(whole.min, whole.max).astype(np.int16), scene.volume),
             "vmin": low, "vmax": high, "cmap": "Grayscale", "units": "mm"}  # fmt: skip
    if scene.labels is not None:
        ids = scene.labels.numpy()
        kind = np.uint8 if ids.max() <= np.iinfo(np.uint8).max else np.uint16
        given["label_image"] = image_in_lps(ids.astype(kind), scene.volume)
    return given


def image_in_lps(values: Shaped[np.ndarray, "x y z"], volume: Volume) -> Any:
    """Values as the viewer reads them: (z, y, x), x to the patient's left and y to the back, in millimetres.

    The viewer knows no directions, so that these axes alone put the patient's right on the left.
    """
    last_x, last_y = volume.shape[0] - 1, volume.shape[1] - 1
    x, y, z = (volume.affine[:3, :3] @ volume.affine.new_tensor([last_x, last_y, 0]) + volume.affine[:3, 3]).tolist()
    return importlib.import_module("ngff_zarr").to_ngff_image(
        np.ascontiguousarray(values[::-1, ::-1].T),
        dims=("z", "y", "x"),
        scale=dict(zip("xyz", volume.spacing, strict=True)),
        translation={"x": -x, "y": -y, "z": z},
    )


def _let_cells_go_on(viewer: Any) -> None:
    """Free the cells that itkwidgets holds back, and say so, where its viewer does not come."""
    from IPython.display import HTML, display

    watcher = importlib.import_module("itkwidgets.cell_watcher").CellWatcher()
    note = display(HTML(""), display_id=True)

    def look() -> None:
        if not watcher.viewer_ready(viewer.name):
            watcher.update_viewer_status(viewer.name, True)
            note.update(HTML(
                f"<p>The itkwidgets viewer did not come within {PATIENCE_S:.0f} s. It needs WebGL, and a page that was "
                f"loaded after its files were on JUPYTER_PATH. Reload the page, or take <code>backend=\"slices\"</code>.</p>"
            ))  # fmt: skip

    asyncio.get_running_loop().call_later(PATIENCE_S, look)
