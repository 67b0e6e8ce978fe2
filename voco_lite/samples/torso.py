"""The torso that phantoms are warped from: a code-made CT from the heart to the hips, without contrast.

Distances are in mm, +x is the patient's right, +y the front, +z the head; L3 lies at z = 0. Organ ids and names are
those of the real CT, so that both can be used side by side. Sizes and places follow anatomy textbooks, roundly.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from voco_lite.samples.anatomy import FAT, FLUID, IDS, LUNG, MUSCLE, SKIN, spine_y
from voco_lite.samples.bowel import draw_bowel, draw_stomach
from voco_lite.samples.canvas import Canvas, blend, carve, common
from voco_lite.samples.skeleton import draw_muscles, draw_skeleton

LOW, HIGH, SPACING = (-189.0, -141.0, -192.0), (189.0, 141.0, 240.0), 3.0


def draw_torso() -> tuple[Int[ndarray, "x y z"], Int[ndarray, "x y z"]]:
    """The torso in whole HU and its organ ids; about two seconds."""
    canvas = Canvas(LOW, HIGH, SPACING, background=-1024.0)
    canvas.sway(60, (5.0, 4.0, 3.0))
    canvas.grain = canvas.noise(8)
    wall = draw_body(canvas)
    dome = diaphragm(canvas)
    draw_muscles(canvas, wall)
    draw_chest(canvas, wall, dome)
    draw_skeleton(canvas)
    draw_upper_abdomen(canvas, wall, dome)
    draw_bowel(canvas, wall, dome)
    draw_vessels(canvas)
    texture = np.clip(canvas.hu + 300, 0, 200) / 200
    canvas.hu += texture * (5 * canvas.noise(9) + 4 * canvas.noise(22)).astype(np.float32)
    return canvas.hu.round().astype(np.int16), canvas.labels


def torso_affine() -> Float[ndarray, "4 4"]:
    """Voxel index to RAS mm."""
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = np.asarray(LOW) + SPACING / 2
    return affine


def outline(canvas: Canvas, inset: float | Float[ndarray, "x y z"]) -> Float[ndarray, "x y z"]:
    """Distance to the body's surface, moved inward by ``inset`` mm."""
    knots = (-200.0, -140.0, -60.0, 10.0, 90.0, 170.0, 245.0)
    half_width = np.interp(canvas.z, knots, (172, 178, 164, 150, 156, 163, 166)) - inset
    half_depth = np.interp(canvas.z, knots, (112, 116, 108, 104, 110, 114, 112)) - inset
    groove = 9 * np.exp(-((canvas.x / 22) ** 2)) * (canvas.y < 0)
    size = (np.abs(canvas.x) / half_width) ** 2.5 + (np.abs(canvas.y) / (half_depth - groove)) ** 2.5
    return np.asarray((size ** (1 / 2.5) - 1) * half_depth)


def draw_body(canvas: Canvas) -> Float[ndarray, "x y z"]:
    """Skin, fat and the muscular wall; returns the distance to the cavity inside the wall."""
    back = np.clip(-canvas.y / 100, 0, 1)
    fat = 15 + 9 * back + 10 * np.clip((-canvas.z - 30) / 110, 0, 1) + 2.5 * canvas.noise(45)
    fat = fat - 6 * np.clip((canvas.z - 120) / 80, 0, 1)
    wall = 13 - 3 * np.clip(canvas.y / 100, 0, 1)
    canvas.fill(outline(canvas, 0), SKIN)
    canvas.fill(outline(canvas, 3.0), FAT + 10 * canvas.threads(30, 1.2))
    canvas.fill(outline(canvas, fat), MUSCLE)
    for depth in (0.38, 0.7):
        layer = np.abs(outline(canvas, fat + depth * wall)) - 0.8
        canvas.fill(layer, -30, where=(np.abs(canvas.x) > 70) & (canvas.z < 130))
    seam = np.abs(canvas.x) - 5
    canvas.fill(np.maximum(seam, outline(canvas, fat)), FAT, where=(canvas.y > 40) & (canvas.z < 110))
    cavity = outline(canvas, fat + wall)
    mesentery = canvas.threads(24, 2.0) * 110
    canvas.fill(cavity, FAT + mesentery)
    return cavity


def diaphragm(canvas: Canvas) -> Float[ndarray, "x y z"]:
    """Height of the voxels above the diaphragm, in mm; below it negative."""
    front = 62 * ((canvas.y - 12) / 92) ** 2
    domes = []
    for side, height in ((1, 172), (-1, 160)):
        away = side * canvas.x - 72  # the dome falls steeply to the wall and little to the middle
        domes.append(height - np.where(away > 0, 58, 22) * (away / 78) ** 2 - front)
    top = -blend(-domes[0], -domes[1], 30)
    return np.asarray(canvas.z - np.maximum(top, 60))


def draw_chest(canvas: Canvas, wall: Float[ndarray, "x y z"], dome: Float[ndarray, "x y z"]) -> None:
    """Lungs with their lobes and vessels, heart."""
    middle = canvas.ellipsoid((-8, 5, 235), (44, 90, 110))
    lungs = carve(common(wall, -dome + 3, 6), middle, 8)
    vessels = np.maximum(canvas.threads(30, 3.4), 0.9 * canvas.threads(16, 2.2))
    density = LUNG + 50 * np.clip(-canvas.y / 90, 0, 1) + 20 * canvas.noise(18) + 780 * vessels
    right, front = canvas.x > -8, canvas.y > (canvas.z - 190) * 0.7 - 5
    lobes = ((~right & front, 10), (~right & ~front, 11), (right & front, 13), (right & ~front, 14))
    for lobe, label in lobes:
        canvas.fill(lungs, density, label, where=lobe)
    chest = common(wall, -dome + 4, 6)
    fissure = np.abs(canvas.y - (canvas.z - 190) * 0.7 + 5) - 0.4
    canvas.fill(np.maximum(fissure, lungs), -650)
    sac = common(canvas.ellipsoid((-26, 42, 208), (66, 50, 58), tilt=-25), chest, 5)
    canvas.fill(sac - 5, FAT)
    canvas.fill(sac, 42, IDS["heart"])
    canvas.fill(common(canvas.ellipsoid((-40, 42, 205), (30, 26, 34), tilt=-25), sac + 9, 4), 36)


def draw_upper_abdomen(canvas: Canvas, wall: Float[ndarray, "x y z"], dome: Float[ndarray, "x y z"]) -> None:
    """Liver, gallbladder, spleen, kidneys, adrenals, stomach, pancreas."""
    below = np.maximum(dome + 6, wall + 4)
    rough = 1.5 * canvas.noise(20)
    for side, kidney in ((1, (64, -48, 38)), (-1, (-62, -46, 54))):
        draw_kidney(canvas, side, kidney)
    liver = blend(canvas.ellipsoid((84, -2, 104), (78, 92, 86)), canvas.ellipsoid((-2, 44, 126), (86, 50, 40)), 28)
    lower_edge = 34 + 0.52 * np.clip(100 - canvas.x, -40, 130) - 0.16 * canvas.y - canvas.z
    liver = common(liver, lower_edge, 24)
    for center, radii in (((58, -52, 44), (38, 40, 62)), ((52, 42, 44), (26, 40, 40)), ((14, -30, 90), (34, 44, 130))):
        liver = carve(liver, canvas.ellipsoid(center, radii), 14)
    liver = common(liver, below, 5) + rough
    trunks = 0.7 * canvas.threads(36, 3.0) + 0.5 * canvas.threads(20, 1.6)
    canvas.fill(liver, 56 - 16 * trunks, IDS["liver"])
    canvas.fill(canvas.ellipsoid((56, 46, 66), (15, 28, 17)) + rough, FLUID, IDS["gallbladder"])
    spleen = common(canvas.ellipsoid((-96, -34, 118), (42, 50, 56), tilt=16), below, 5)
    for center, radii in (((-62, -46, 54), (40, 38, 60)), ((-50, -6, 112), (36, 50, 60))):
        spleen = carve(spleen, canvas.ellipsoid(center, radii), 10)
    spleen = spleen + rough
    canvas.fill(spleen, 48, IDS["spleen"])
    for side, height in ((1, 98), (-1, 106)):
        limbs = [canvas.tube([(side * 38, -28, height), (side * (38 + dx), -38, height - 18)], 3.5) for dx in (-8, 9)]
        canvas.fill(blend(limbs[0], limbs[1], 3), 30, IDS["adrenal_gland_" + ("right" if side > 0 else "left")])
    path = [(34, 30, 40), (34, 28, 62), (6, 30, 74), (-40, 8, 86), (-84, -18, 98)]
    lobules = canvas.noise(8)
    canvas.fill(canvas.tube(path, (15, 15, 11, 11, 8)) + 1.5 * lobules, 36 + 7 * lobules, IDS["pancreas"])
    draw_stomach(canvas, np.maximum(below, 2 - spleen))


def draw_kidney(canvas: Canvas, side: int, center: tuple[float, float, float]) -> None:
    """Cortex, medulla, sinus fat and pelvis; the fat around it stays as it is."""
    x, y, z = center
    around = canvas.ellipsoid((x, y, z), (42, 40, 68), tilt=side * 12)
    canvas.fill(around, FAT)
    kidney = canvas.ellipsoid(center, (30, 26, 54), tilt=side * 12) + 0.8 * canvas.noise(16)
    sinus = blend(
        canvas.ellipsoid((x - side * 16, y + 6, z), (20, 10, 22)), canvas.ellipsoid((x - side * 6, y, z), (8, 8, 28)), 8
    )
    canvas.fill(kidney, 33, IDS["kidney_right" if side > 0 else "kidney_left"])
    canvas.fill(np.maximum(sinus, kidney - 4), -70, 0)
    ureter = [(x - side * 2, y + 3, z + 8), (x - side * 20, y + 6, z - 2), (x - side * 26, y + 6, z - 26)]
    canvas.fill(canvas.tube([*ureter, (x - side * 22, y + 14, -80)], (5, 7, 3, 2)), 10)


def draw_vessels(canvas: Canvas) -> None:
    """Aorta, inferior vena cava, portal and iliac vessels."""
    aorta = [(-14 + 4 * float(np.sin(h / 40)), spine_y(h) + 33, h) for h in (244.0, 190.0, 120.0, 60.0, 0.0, -40.0)]
    cava = [(24, 4, 190), (26, -2, 150), (22, -4, 110), (20, spine_y(30) + 32, 30), (14, spine_y(-50) + 32, -52)]
    canvas.fill(canvas.tube(cava, (12, 12, 12, 12, 11), flat=(1.2, 0.9, 1)), 40, IDS["inferior_vena_cava"])
    canvas.fill(canvas.tube(aorta, (12, 12, 11, 10, 9, 9)), 44, IDS["aorta"])
    portal = [(56, 22, 112), (34, 18, 96), (14, 16, 78), (-36, -4, 88), (-92, -26, 106)]
    canvas.fill(canvas.tube(portal, (7, 7, 7, 5, 4)), 40, IDS["portal_vein_and_splenic_vein"])
    y = spine_y(-48) + 31
    for side, name in ((1, "right"), (-1, "left")):
        artery = [(-10, y + 2, -42), (side * 30, y - 4, -78), (side * 62, 34, -128), (side * 80, 72, -200)]
        vein = [(13, y - 2, -54), (side * 30 + 4, y - 12, -88), (side * 56, 24, -132), (side * 70, 66, -200)]
        canvas.fill(canvas.tube(vein, (9, 8, 7, 7)), 40, IDS[f"iliac_vena_{name}"])
        canvas.fill(canvas.tube(artery, (7, 6, 5.5, 5)), 44, IDS[f"iliac_artery_{name}"])
