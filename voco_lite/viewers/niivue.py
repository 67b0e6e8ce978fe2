"""Slices and a 3-D render in the browser, by ipyniivue: the volume as NIfTI, boxes as a mesh of thin bars.

The browser is sent at most 2 bytes a voxel of the image, 1 of up to 255 labels and 1 of heat.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from voco_lite.viewers.overlays import OPACITY, still
from voco_lite.viewers.planes import Window
from voco_lite.viewers.rows import LABEL_COLOURS
from voco_lite.viewers.scene import Box, Scene, make_scene
from voco_lite.viewers.webgl import LiveBox

if TYPE_CHECKING:
    from voco_lite.volumes import Volume

_HEIGHT = 560  # pixels
_BAR = 0.008  # thickness of a box's bars, as a share of the volume's longest side
_DIFFUSE = 6  # niivue's shader with light from the viewer: bars that face us keep their colour
_LIGHT = 1.4  # by which that shader multiplies a colour
_FRONT = (165.0, 15.0)  # azimuth and elevation in degrees, somewhat from the patient's left
_CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
# Corners of a cuboid as its twelve triangles, seen from outside counter-clockwise.
_TRIANGLES = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
                       [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])  # fmt: skip


def show_niivue(
    volume: Volume | Tensor,
    labels: Int[Tensor, "x y z"] | None = None,
    boxes: Sequence[tuple[Any, ...]] = (),
    heat: Float[Tensor, "x y z"] | None = None,
    window: Window | None = None,
) -> LiveBox:
    """Three slices and a 3-D render that answer to the mouse; arguments and errors as in `view`.

    Raises:
        ValueError: ipyniivue is not installed.
    """
    try:
        import ipyniivue
    except ImportError as error:
        raise ValueError(
            'backend "niivue" needs the package ipyniivue, which is not installed. Run `pip install "ipyniivue>=2.4.0,<3"`, '
            'or take backend="slices".'
        ) from error
    scene = make_scene(volume, labels, boxes, heat, window)
    viewer = ipyniivue.NiiVue(
        height=_HEIGHT,
        is_radiological_convention=True,  # the patient's right on the left, as in every picture of this package
        sagittal_nose_left=True,
        multiplanar_show_render=ipyniivue.ShowRender.ALWAYS,
        multiplanar_layout=ipyniivue.MultiplanarType.GRID,
        show_all_orientation_markers=True,
        crosshair_color=(0.9, 0.62, 0.0, 0.8),
        crosshair_width=0.4,  # of a voxel
        font_color=(0.94, 0.89, 0.26, 1.0),
        mesh_xray=1.0,  # bars behind the slice keep their colour
    )
    viewer.scene.crosshair_pos = [(n + 0.5) / have for n, have in zip(scene.point, scene.volume.shape, strict=True)]
    viewer.scene.render_azimuth, viewer.scene.render_elevation = _FRONT
    viewer.load_volumes(volumes_to_send(scene))
    if scene.boxes:
        viewer.load_meshes([{"data": mz3(*bars(scene.boxes, scene.volume)), "name": "boxes.mz3"}])
        viewer.meshes[0].mesh_shader_index = _DIFFUSE
        viewer.opts.mesh_thickness_on_2d = _reach(scene)
    words = (
        f"{scene.words}. The patient's right is on the left. Click or scroll in a slice to move the cross; "
        "drag the body to turn it; drag with the right button to change the window."
    )
    return LiveBox(viewer, still(scene), words)


def volumes_to_send(scene: Scene) -> list[dict[str, Any]]:
    """Image, labels and heat as NIfTI files in memory, with how niivue is to colour them."""
    import ipyniivue
    from ipyniivue.utils import make_label_lut

    affine, (low, high) = scene.volume.affine, scene.window
    image = scene.volume.data[0].numpy()
    sent = [{"data": nifti(image, affine, np.int16), "name": "image.nii", "colormap": "gray", "cal_min": low,
             "cal_max": high}]  # fmt: skip
    if scene.labels is not None:
        ids = scene.labels.numpy()
        kind = next(kind for kind in (np.uint8, np.int16, np.int32) if ids.max() <= np.iinfo(kind).max)
        colours = make_label_lut(ipyniivue.traits.ColorMap(**label_colours(int(ids.max()), scene.volume.label_names)))
        sent.append({"data": nifti(ids.astype(kind), affine, kind, intent="label"), "name": "labels.nii", "opacity": OPACITY,
                     "colormap_label": colours})  # fmt: skip
    if scene.heat is not None:
        levels = scene.heat.mul(255).round().to(torch.uint8).numpy()
        sent.append({"data": nifti(levels, affine, np.uint8, slope=1 / 255), "name": "heat.nii", "opacity": 0.7,
                     "colormap": "inferno", "cal_min": 0.0, "cal_max": 1.0})  # fmt: skip
    return sent


def nifti(
    values: Shaped[ndarray, "x y z"], affine: Float[Tensor, "4 4"], kind: type[np.generic], slope: float | None = None,
    intent: str = "none",
) -> bytes:  # fmt: skip
    """A NIfTI file of this type in memory, in millimetres.

    Floats are scaled to the whole range of the type, with slope and intercept in the header, unless a slope is given.
    """
    import nibabel

    image = nibabel.Nifti1Image(values, affine.numpy(), dtype=kind)
    image.header.set_xyzt_units("mm")
    image.header.set_intent(intent)  # niivue leaves 0 of "label" uncoloured, and nothing else
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
    return image.to_bytes()


def label_colours(largest: int, names: dict[int, str]) -> dict[str, Any]:
    """Colours of the labels 0 to the largest: none, then seven in turn, as in the slices."""
    colours = LABEL_COLOURS[(torch.arange(largest + 1) - 1) % len(LABEL_COLOURS)]
    red, green, blue = (channel.tolist() for channel in colours.T)
    return {
        "R": red, "G": green, "B": blue, "A": [0.0] + [255.0] * largest,
        "I": [float(number) for number in range(largest + 1)],
        "labels": [names.get(number, f"label {number}" if number else "") for number in range(largest + 1)],
    }  # fmt: skip


def bars(
    boxes: Sequence[Box], volume: Volume
) -> tuple[Float[ndarray, "corners 3"], Int[ndarray, "triangles 3"], UInt8[ndarray, "corners 4"]]:
    """The edges of all boxes as thin bars: corners in RAS mm, triangles, and the colour of each corner."""
    thickness = _BAR * max(n * mm for n, mm in zip(volume.shape, volume.spacing, strict=True))
    half = thickness / 2 / np.array(volume.spacing)
    corners: list[ndarray] = []
    colours: list[list[int]] = []
    for box in boxes:
        # Voxel 0 reaches from -0.5 to 0.5.
        low = np.array(box.first) - 0.5
        for start, end in _edges(low, low + box.size):
            corners.append(start - half + _CORNERS * (end - start + 2 * half))
            colours.append([*(round(part / _LIGHT) for part in box.colour), 255])
    affine = volume.affine.numpy()
    # Each triangle gets corners of its own: light on corners that faces share would darken whole bars.
    places = np.concatenate([bar[_TRIANGLES.ravel()] for bar in corners]) @ affine[:3, :3].T + affine[:3, 3]
    triangles = np.arange(len(places)).reshape(-1, 3)
    return places, triangles, np.repeat(np.array(colours, dtype=np.uint8), _TRIANGLES.size, axis=0)


def _edges(low: ndarray, high: ndarray) -> list[tuple[ndarray, ndarray]]:
    """The twelve edges of a box, each from its low to its high end."""
    edges = []
    for axis in range(3):
        for corner in _CORNERS[_CORNERS[:, axis] == 0]:
            start = np.where(corner, high, low)
            end = start.copy()
            end[axis] = high[axis]
            edges.append((start, end))
    return edges


def mz3(
    places: Float[ndarray, "corners 3"], triangles: Int[ndarray, "triangles 3"], colours: UInt8[ndarray, "corners 4"]
) -> bytes:
    """A coloured mesh in the MZ3 format of Surfice: "MZ", which parts follow (1 + 2 + 4: all), counts, then the parts."""
    header = struct.pack("<HHIII", 0x5A4D, 1 + 2 + 4, len(triangles), len(places), 0)
    return header + triangles.astype("<i4").tobytes() + places.astype("<f4").tobytes() + colours.tobytes()


def _reach(scene: Scene) -> float:
    """Millimetres around a slice in which bars are drawn: half of the largest box, so that no slice through it lacks them."""
    sizes = [n * mm for box in scene.boxes for n, mm in zip(box.size, scene.volume.spacing, strict=True)]
    return max(sizes) / 2 + max(scene.volume.spacing)
