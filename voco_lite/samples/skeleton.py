"""Bones and the muscles around them, for the code-made torso."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from voco_lite.samples.canvas import Canvas, blend, common

# Height of the middle of each vertebral body, in mm above L3.
LEVELS = {27: -72.0, 28: -36.0, 29: 0.0, 30: 34.0, 31: 67.0, 32: 98.0, 33: 128.0, 34: 156.0, 35: 183.0, 36: 209.0,
          37: 234.0}  # fmt: skip
_NAMES = ("L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10", "T9", "T8", "T7")
VERTEBRAE = {label: f"vertebrae_{name}" for label, name in zip(LEVELS, _NAMES, strict=True)}
CORTEX_MM = 3.0


def spine_y(z: float | Float[ndarray, "..."]) -> float | Float[ndarray, "..."]:
    """Front-back position of the middle of the vertebral bodies: forward in the loins, back in chest and pelvis."""
    return np.interp(z, (-190, -140, -105, -72, -20, 40, 100, 170, 245), (-86, -92, -72, -40, -28, -32, -42, -54, -58))


def fill_bone(canvas: Canvas, distance: Float[ndarray, "x y z"], label: int, hard: float = 430) -> None:
    """A dense cortex around marrow."""
    canvas.fill(distance, hard, label)
    canvas.fill(distance + CORTEX_MM, 170 + 45 * canvas.noise(8))


def draw_skeleton(canvas: Canvas, wall: Float[ndarray, "x y z"], ids: dict[str, int]) -> None:
    """Ribs, spine, sacrum, hips, femoral heads, sternum."""
    draw_ribs(canvas, wall, ids)
    draw_spine(canvas, ids)
    draw_pelvis(canvas, ids)


def draw_spine(canvas: Canvas, ids: dict[str, int]) -> None:
    """Vertebral bodies with discs between them, arches, processes, the cord in its canal."""
    depth = canvas.y - spine_y(canvas.z)
    column = np.sqrt((canvas.x / 1.28) ** 2 + depth**2) - 18.5
    canvas.fill(np.maximum(column + 1, -canvas.z - 92), 85)
    heights = list(LEVELS.values()) + [260.0]
    for (label, z), above in zip(LEVELS.items(), heights[1:], strict=True):
        half = (above - z) / 2 - 4.5
        waist = 2.0 * (1 - (np.abs(canvas.z - z) / half).clip(0, 1))
        body = np.maximum(column + waist, np.abs(canvas.z - z) - half)
        y = float(spine_y(z))
        processes = [canvas.tube([(0, y - 34, z - 2), (0, y - 54, z - 12)], (5, 5), flat=(0.8, 1, 1.8))]
        for side in (1, -1):
            processes.append(canvas.tube([(side * 13, y - 14, z + 4), (side * 11, y - 32, z)], (6, 5)))
            processes.append(canvas.tube([(side * 13, y - 26, z + 3), (side * 40, y - 34, z + 3)], (5, 4)))
            processes.append(canvas.tube([(side * 11, y - 32, z), (0, y - 38, z - 3)], (5, 5)))
        arch = np.minimum.reduce(processes)
        fill_bone(canvas, np.minimum(body, arch), label)
    canal = np.sqrt(canvas.x**2 + (depth + 25) ** 2) - 9
    canvas.fill(np.maximum(canal, -canvas.z - 130), 12)
    canvas.fill(np.maximum(canal + 3, -canvas.z - 110), 34, ids["spinal_cord"])


def draw_ribs(canvas: Canvas, wall: Float[ndarray, "x y z"], ids: dict[str, int]) -> None:
    """Ribs 6 to 12 along the wall, falling toward the front; cartilage and sternum close the cage."""
    spine_z = {12: 98.0, 11: 128.0, 10: 156.0, 9: 183.0, 8: 209.0, 7: 234.0, 6: 259.0}
    reach = {12: 62.0, 11: 100.0, 10: 132.0, 9: 146.0, 8: 154.0, 7: 160.0, 6: 164.0}
    for number, top in spine_z.items():
        for side, name in ((1, "right"), (-1, "left")):
            angles = np.deg2rad(np.linspace(14, reach[number], 14))
            bow = np.sin(angles / 2) ** 1.2
            path = [
                (side * 138 * float(np.sin(a)) ** 0.85, -91 * float(np.cos(a)) - 2, top - 88 * float(b) * (1 - 0.18 * float(b)))
                for a, b in zip(angles, bow, strict=True)
            ]  # fmt: skip
            rib = canvas.tube(path, 4.6, flat=(1, 1, 1.5))
            fill_bone(canvas, rib, ids[f"rib_{name}_{number}"], hard=380)
            if number < 11:
                end = path[-1]
                tip = (side * 14.0, 92.0, max(end[2] + 26, 165.0))
                canvas.fill(canvas.tube([end, ((end[0] + tip[0]) / 2, 86, (end[2] + tip[2]) / 2 + 2), tip], 5), 115, ids["costal_cartilages"])  # fmt: skip
    breast = canvas.tube([(0, 93, 250), (0, 95, 178)], (9, 7), flat=(2, 0.8, 1))
    fill_bone(canvas, breast, ids["sternum"], hard=330)


def draw_pelvis(canvas: Canvas, ids: dict[str, int]) -> None:
    """Sacrum, iliac wings, sockets, pubic and sitting bones, upper ends of the femurs."""
    sacrum = blend(
        canvas.tube([(0, -50, -98), (0, -80, -130), (0, -88, -165), (0, -80, -185)], (22, 18, 12, 7), flat=(1.7, 0.8, 1)),
        canvas.tube([(-40, -72, -100), (40, -72, -100)], 15, flat=(1, 1, 1.5)),
        10,
    )  # fmt: skip
    fill_bone(canvas, sacrum, ids["sacrum"], hard=350)
    for side, name in ((1, "right"), (-1, "left")):
        u, v = np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 34), indexing="ij")
        corners = [np.array(c, dtype=float) for c in ((54, -84, -70), (132, 42, -70), (52, -62, -128), (92, 22, -150))]
        sheet = sum(
            w[..., None] * c for w, c in zip(((1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v), corners, strict=True)
        )
        bulge, crest = np.sin(np.pi * u) * np.sin(np.pi * (0.2 + 0.8 * v)), np.sin(np.pi * u) * (1 - v)
        sheet = np.asarray(sheet) + np.stack([20 * bulge + 12 * crest, -4 * bulge, 26 * crest], -1)
        points = (sheet * np.array([side, 1, 1])).reshape(-1, 3)
        wing = canvas.stamp(points, (4.2 + 3.5 * (np.abs(2 * v - 1) ** 4)).ravel())
        head = (side * 92.0, 12.0, -160.0)
        socket = np.maximum(canvas.ellipsoid(head, (34, 34, 32)), side * (canvas.x - head[0]) - 14)
        bars = [
            canvas.tube([(side * 84, 26, -158), (side * 48, 58, -164), (side * 9, 66, -176)], (12, 8, 9)),
            canvas.tube([(side * 80, -12, -160), (side * 68, -30, -196)], (15, 14)),
        ]
        hip = blend(blend(wing, socket, 8), np.minimum(bars[0], bars[1]), 6)
        fill_bone(canvas, hip, ids[f"hip_{name}"])
        canvas.fill(canvas.ellipsoid(head, (26.5, 26.5, 26.5)), 60, 0)
        neck = canvas.tube([head, (side * 128, 4, -182), (side * 140, 0, -200)], (15, 15, 17))
        femur = blend(canvas.ellipsoid(head, (24, 24, 24)), neck, 6)
        fill_bone(canvas, femur, ids[f"femur_{name}"])


def draw_muscles(canvas: Canvas, wall: Float[ndarray, "x y z"], ids: dict[str, int]) -> None:
    """Muscles of back, loins and buttocks, marbled with fat."""
    marbled = 52 - 26 * canvas.threads(16, 1.4)
    inner = wall - 16
    for side, name in ((1, "right"), (-1, "left")):
        back = np.sqrt(((canvas.x - side * 36) / 1.5) ** 2 + (canvas.y - spine_y(canvas.z) + 48) ** 2) - 22
        back = common(np.maximum(back, -canvas.z - 132), inner, 4)
        loin = canvas.tube([(side * 24, -30, 80), (side * 36, -24, 20), (side * 50, -10, -56), (side * 70, 26, -120), (side * 92, 44, -160), (side * 104, 30, -200)], (6, 16, 23, 19, 17, 16), flat=(1, 1.15, 1))  # fmt: skip
        seat = canvas.ellipsoid((side * 82, -70, -158), (62, 38, 70), tilt=side * 20)
        middle = canvas.ellipsoid((side * 122, -18, -108), (26, 52, 56), tilt=side * 14)
        thigh = canvas.ellipsoid((side * 105, 30, -215), (60, 62, 60))
        for shape, label in (
            (thigh, None),
            (back, ids[f"autochthon_{name}"]),
            (loin, ids[f"iliopsoas_{name}"]),
            (np.maximum(seat, inner), ids[f"gluteus_maximus_{name}"]),
            (np.maximum(middle, inner), ids[f"gluteus_medius_{name}"]),
        ):
            canvas.fill(shape + 0.8 * canvas.noise(18), marbled, label)
