"""Bones and the muscles around them, for the code-made torso."""

from __future__ import annotations

from itertools import product

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from voco_lite.samples.anatomy import IDS, LEVELS, SIDES, SPINE_Y, SPINE_Z, spine_y
from voco_lite.samples.canvas import Canvas, Point, blend, common

CORTEX_MM = 3.0


def fill_bone(canvas: Canvas, distance: Float[ndarray, "x y z"], label: int, hard: float = 430) -> None:
    """A dense cortex around marrow."""
    canvas.fill(distance, hard, label)
    canvas.fill(distance + CORTEX_MM, 170 + 45 * canvas.grain)


def draw_skeleton(canvas: Canvas) -> None:
    """Ribs, spine, sacrum, hips, femoral heads, sternum."""
    draw_ribs(canvas)
    draw_spine(canvas)
    draw_pelvis(canvas)


def draw_spine(canvas: Canvas) -> None:
    """Vertebral bodies with discs between them, arches, processes, the cord in its canal."""
    depth = canvas.y - np.interp(canvas.z, SPINE_Z, SPINE_Y)
    column = np.sqrt((canvas.x / 1.28) ** 2 + depth**2) - 18.5
    canvas.fill(np.maximum(column + 1, -canvas.z - 92), 85)
    heights = [*LEVELS.values(), 260.0]
    for (label, z), above in zip(LEVELS.items(), heights[1:], strict=True):
        half = (above - z) / 2 - 4.5
        waist = 2.0 * (1 - (np.abs(canvas.z - z) / half).clip(0, 1))
        body = np.maximum(column + waist, np.abs(canvas.z - z) - half)
        y = spine_y(z)
        arms: list[tuple[list[Point], tuple[float, ...]]] = []
        for side in (1, -1):
            arms.append(([(side * 13, y - 14, z + 4), (side * 11, y - 32, z), (0, y - 38, z - 3)], (6, 5, 5)))
            arms.append(([(side * 13, y - 26, z + 3), (side * 40, y - 34, z + 3)], (5, 4)))
        spine = canvas.tube([(0, y - 34, z - 2), (0, y - 54, z - 12)], (5, 5), flat=(0.8, 1, 1.8))
        arch = np.minimum(spine, canvas.tubes(arms))
        fill_bone(canvas, np.minimum(body, arch), label)
    canal = np.sqrt(canvas.x**2 + (depth + 25) ** 2) - 9
    canvas.fill(np.maximum(canal, -canvas.z - 130), 12)
    canvas.fill(np.maximum(canal + 3, -canvas.z - 110), 34, IDS["spinal_cord"])


def draw_ribs(canvas: Canvas) -> None:
    """Ribs 6 to 12 along the wall, falling toward the front; cartilage and sternum close the cage."""
    spine_z = {12: 98.0, 11: 128.0, 10: 156.0, 9: 183.0, 8: 209.0, 7: 234.0, 6: 259.0}
    reach_deg = {12: 62.0, 11: 100.0, 10: 132.0, 9: 146.0, 8: 154.0, 7: 160.0, 6: 164.0}
    for (number, top), (side, name) in product(spine_z.items(), SIDES):
        angles = np.deg2rad(np.linspace(14, reach_deg[number], 14))
        fall = np.sin(angles / 2) ** 1.2
        x, y = side * 138 * np.sin(angles) ** 0.85, -91 * np.cos(angles) - 2
        z = top - 88 * fall * (1 - 0.18 * fall)
        path = [(float(a), float(b), float(c)) for a, b, c in zip(x, y, z, strict=True)]
        fill_bone(canvas, canvas.tube(path, 4.6, flat=(1, 1, 1.5)), IDS[f"rib_{name}_{number}"], hard=380)
        if number < 11:
            end, tip = path[-1], (side * 14.0, 92.0, max(path[-1][2] + 26, 165.0))
            middle = ((end[0] + tip[0]) / 2, 86.0, (end[2] + tip[2]) / 2 + 2)
            canvas.fill(canvas.tube([end, middle, tip], 5), 115, IDS["costal_cartilages"])
    breast = canvas.tube([(0, 93, 250), (0, 95, 178)], (9, 7), flat=(2, 0.8, 1))
    fill_bone(canvas, breast, IDS["sternum"], hard=330)


def draw_pelvis(canvas: Canvas) -> None:
    """Sacrum, iliac wings, sockets, pubic and sitting bones, upper ends of the femurs."""
    keel = [(0, -50, -98), (0, -80, -130), (0, -88, -165), (0, -80, -185)]
    wings = canvas.tube([(-40, -72, -100), (40, -72, -100)], 15, flat=(1, 1, 1.5))
    sacrum = blend(canvas.tube(keel, (22, 18, 12, 7), flat=(1.7, 0.8, 1)), wings, 10)
    fill_bone(canvas, sacrum, IDS["sacrum"], hard=350)
    for side, name in SIDES:
        head = (side * 92.0, 12.0, -160.0)
        socket = np.maximum(canvas.ellipsoid(head, (34, 34, 32)), side * (canvas.x - head[0]) - 14)
        pubis = canvas.tube([(side * 84, 26, -158), (side * 48, 58, -164), (side * 9, 66, -176)], (12, 8, 9))
        seat = canvas.tube([(side * 80, -12, -160), (side * 68, -30, -196)], (15, 14))
        hip = blend(blend(iliac_wing(canvas, side), socket, 8), np.minimum(pubis, seat), 6)
        fill_bone(canvas, hip, IDS[f"hip_{name}"])
        canvas.fill(canvas.ellipsoid(head, (26.5, 26.5, 26.5)), 60, 0)
        neck = canvas.tube([head, (side * 128, 4, -182), (side * 140, 0, -200)], (15, 15, 17))
        fill_bone(canvas, blend(canvas.ellipsoid(head, (24, 24, 24)), neck, 6), IDS[f"femur_{name}"])


def iliac_wing(canvas: Canvas, side: int) -> Float[ndarray, "x y z"]:
    """Distance to the bent plate of the hip bone, between the joint with the sacrum, the crest and the socket."""
    u, v = (grid[..., None] for grid in np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 34), indexing="ij"))
    back, front = np.array([54.0, -84, -70]), np.array([132.0, 42, -70])
    low_back, low_front = np.array([52.0, -62, -128]), np.array([92.0, 22, -150])
    sheet = (1 - v) * ((1 - u) * back + u * front) + v * ((1 - u) * low_back + u * low_front)
    bulge, crest = np.sin(np.pi * u) * np.sin(np.pi * (0.2 + 0.8 * v)), np.sin(np.pi * u) * (1 - v)
    sheet += bulge * np.array([20.0, -4, 0]) + crest * np.array([12.0, 0, 26])
    thickness = np.broadcast_to(4.2 + 3.5 * np.abs(2 * v - 1) ** 4, (40, 34, 1))
    return canvas.stamp((sheet * np.array([side, 1, 1])).reshape(-1, 3), thickness.ravel())


def draw_muscles(canvas: Canvas, wall: Float[ndarray, "x y z"]) -> None:
    """Muscles of back, loins, buttocks, pelvic floor and thighs, marbled with fat."""
    marbled, rough, inner = 52 - 26 * canvas.threads(16, 1.4), 0.8 * canvas.noise(18), wall - 16
    for side, name in SIDES:
        depth = canvas.y - np.interp(canvas.z, SPINE_Z, SPINE_Y) + 48
        back = np.sqrt(((canvas.x - side * 36) / 1.5) ** 2 + depth**2) - 22
        back = common(np.maximum(back, -canvas.z - 132), inner, 4)
        path = [(24, -30, 80), (35, -24, 20), (47, -10, -56), (70, 26, -120), (92, 44, -160), (104, 34, -200)]
        loin = canvas.tube([(side * x, y, z) for x, y, z in path], (6, 14, 20, 17, 16, 16), flat=(1, 1.15, 1))
        seat = canvas.ellipsoid((side * 82, -70, -158), (62, 38, 70), tilt=side * 20)
        middle = canvas.ellipsoid((side * 122, -18, -108), (26, 52, 56), tilt=side * 14)
        floor = canvas.ellipsoid((side * 60, -8, -168), (13, 44, 34), tilt=side * 12)
        thigh = np.maximum(canvas.ellipsoid((side * 100, 26, -205), (64, 66, 66)), inner)
        for shape, label in (
            (floor, None),
            (thigh, None),
            (back, IDS[f"autochthon_{name}"]),
            (loin, IDS[f"iliopsoas_{name}"]),
            (np.maximum(seat, inner), IDS[f"gluteus_maximus_{name}"]),
            (np.maximum(middle, inner), IDS[f"gluteus_medius_{name}"]),
        ):
            canvas.fill(shape - 1.5, -60)  # a seam of fat between neighbours
            canvas.fill(shape + rough, marbled, label)
