"""Stomach, bowel and what lies below them, for the code-made torso."""

from __future__ import annotations

from itertools import product

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from voco_lite.samples.anatomy import GAS, IDS, spine_y
from voco_lite.samples.canvas import Canvas, Point, common
from voco_lite.samples.draws import Draws


def draw_stomach(canvas: Canvas, below: Float[ndarray, "x y z"]) -> None:
    """Wall with folds, fluid, and gas that rises to the front of the lying patient."""
    path = [(-42, -6, 146), (-64, 10, 132), (-72, 34, 106), (-62, 52, 84), (-34, 60, 72), (0, 54, 74), (26, 44, 78)]
    stomach = common(canvas.tube(path, (20, 33, 32, 29, 24, 19, 12)), below + 3, 5) + 1.5 * canvas.noise(14)
    canvas.fill(stomach, 40, IDS["stomach"])
    inside = stomach + 5 + 2 * np.clip(canvas.noise(7), -1, 1)
    food = 20 + 22 * canvas.noise(10)
    canvas.fill(inside, food)
    canvas.fill(np.maximum(inside, 56 - canvas.y), GAS)
    gullet = [(-6, spine_y(240) + 34, 244), (-10, -4, 190), (-16, -2, 162), (-46, -10, 148)]
    canvas.fill(canvas.tube(gullet, (8, 8, 9, 10)), 38, IDS["esophagus"])


def draw_bowel(canvas: Canvas, wall: Float[ndarray, "x y z"], dome: Float[ndarray, "x y z"]) -> None:
    """Small bowel in packed loops, duodenum, colon with haustra, bladder, prostate."""
    free = (canvas.labels == 0) & (wall < -3) & (dome < -8)
    loops = _loops()
    nearest = np.full(canvas.size, 9.0, dtype=np.float32)
    second = nearest.copy()
    for path in loops:
        distance = canvas.tube(path, 13.5)
        second = np.minimum(second, np.maximum(nearest, distance))
        nearest = np.minimum(nearest, distance)
    bowel = np.maximum(nearest, (nearest - second) / 2 + 0.8) + 0.8 * canvas.noise(12)
    canvas.fill(bowel, 42, IDS["small_bowel"], where=free)
    canvas.fill(bowel + 3.2, 22 + 14 * canvas.noise(26), where=free)
    front = np.maximum(bowel + 3.2, 54 - 8 * canvas.noise(60) - canvas.y)
    canvas.fill(front, GAS, where=free & (canvas.noise(50) > 0.9))
    curve = [(24, 44, 80), (48, 32, 74), (58, 22, 44), (46, 10, 18), (6, 4, 12), (-30, 18, 26)]
    canvas.fill(canvas.tube(curve, 12), 38, IDS["duodenum"])
    canvas.fill(canvas.tube(curve, 7), 16)
    draw_colon(canvas, wall)
    bladder = canvas.ellipsoid((4, 30, -142), (46, 38, 34)) + 1.5 * canvas.noise(30)
    canvas.fill(bladder, 38, IDS["urinary_bladder"])
    canvas.fill(bladder + 4, 6)
    canvas.fill(canvas.ellipsoid((0, 16, -182), (22, 18, 16)), 44, IDS["prostate"])


def draw_colon(canvas: Canvas, wall: Float[ndarray, "x y z"]) -> None:
    """From caecum to rectum: a wall, stool with gas in it, gas toward the front."""
    path = [(98, 20, -72), (108, 2, -30), (112, -8, 14), (100, 30, 44), (56, 70, 30), (0, 80, 14), (-52, 74, 34),
            (-98, 40, 78), (-116, -8, 58), (-114, -14, 10), (-106, 2, -44), (-82, 30, -84), (-34, 34, -96),
            (8, 10, -88), (14, -30, -104), (0, -52, -136), (0, -42, -190)]  # fmt: skip
    widths = (30, 27, 25, 25, 23, 22, 22, 22, 20, 18, 17, 17, 17, 17, 19, 21, 15)
    pouches = 1 - 0.18 * np.abs(np.sin((canvas.x + canvas.y + 1.4 * canvas.z) / 14)) ** 6
    colon = np.maximum(canvas.tube(path, widths) + 16 * (1 - pouches), wall + 3)
    canvas.fill(colon, 40, IDS["colon"])
    inside = colon + 3.5
    grain = canvas.noise(7)
    stool = np.where(grain > 0.9, -450, 30 + 28 * grain)
    canvas.fill(inside, stool)
    level = np.interp(canvas.x, (-120, -60, 0, 60, 120), (10, 78, 76, 72, 22))
    canvas.fill(np.maximum(inside, level - canvas.y), GAS, where=canvas.z > -70)


def _loops() -> list[list[Point]]:
    """Curves of the small bowel: arcs that fill the middle of the belly, jejunum upper left, ileum lower right."""
    draws, loops = Draws(0, "loops"), []
    for z, y, x in product(np.arange(-112, 62, 29.0), (28.0, 66.0), (-62.0, -8.0, 52.0)):
        angles = draws.uniform(0, 2 * np.pi) + np.linspace(0, 1.3 * np.pi, 6)
        tilt = draws.uniform(-1, 1)
        dx, dy, dz = (draws.uniform(-10, 10) for _ in range(3))
        bends = np.stack([29 * np.cos(angles), 18 * np.sin(angles), 9 * tilt * np.sin(angles + 1)], -1)
        loops.append([(float(a), float(b), float(c)) for a, b, c in bends + np.array([x + dx, y + dy, z + dz])])
    return loops
