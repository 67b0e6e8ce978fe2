"""The torso that phantoms are warped from: a code-made CT from the heart to the hips, without contrast.

Distances are in mm, +x is the patient's right, +y the front, +z the head; L3 lies at z = 0. Organ ids and names are
those of the real CT, so that both can be used side by side. Sizes and places follow anatomy textbooks, roundly.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from voco_lite.samples.canvas import Canvas, blend, carve, common
from voco_lite.samples.skeleton import VERTEBRAE, draw_muscles, draw_skeleton, spine_y
from voco_lite.samples.sources import Source

VERSION = "torso-1"
LOW, HIGH, SPACING = (-189.0, -141.0, -192.0), (189.0, 141.0, 240.0), 3.0
NAMES: dict[int, str] = {
    1: "spleen", 2: "kidney_right", 3: "kidney_left", 4: "gallbladder", 5: "liver", 6: "stomach", 7: "pancreas",
    8: "adrenal_gland_right", 9: "adrenal_gland_left", 10: "lung_upper_lobe_left", 11: "lung_lower_lobe_left",
    13: "lung_middle_lobe_right", 14: "lung_lower_lobe_right", 15: "esophagus", 18: "small_bowel", 19: "duodenum",
    20: "colon", 21: "urinary_bladder", 22: "prostate", 25: "sacrum", **VERTEBRAE, 51: "heart", 52: "aorta",
    63: "inferior_vena_cava", 64: "portal_vein_and_splenic_vein", 65: "iliac_artery_left", 66: "iliac_artery_right",
    67: "iliac_vena_left", 68: "iliac_vena_right", 75: "femur_left", 76: "femur_right", 77: "hip_left",
    78: "hip_right", 79: "spinal_cord", 80: "gluteus_maximus_left", 81: "gluteus_maximus_right",
    82: "gluteus_medius_left", 83: "gluteus_medius_right", 86: "autochthon_left", 87: "autochthon_right",
    88: "iliopsoas_left", 89: "iliopsoas_right", **{91 + n: f"rib_left_{n}" for n in range(6, 13)},
    **{103 + n: f"rib_right_{n}" for n in range(6, 13)}, 116: "sternum", 117: "costal_cartilages",
}  # fmt: skip
IDS = {name: number for number, name in NAMES.items()}
FAT, MUSCLE, SKIN, LUNG, FLUID, GAS = -102.0, 52.0, 25.0, -860.0, 8.0, -980.0


def build_torso() -> Source:
    """Draw the torso; about two seconds."""
    canvas = Canvas(LOW, HIGH, SPACING, background=-1024.0)
    canvas.sway(60, (5.0, 4.0, 3.0))
    wall = draw_body(canvas)
    dome = diaphragm(canvas)
    draw_muscles(canvas, wall, IDS)
    draw_chest(canvas, wall, dome)
    draw_skeleton(canvas, wall, IDS)
    draw_upper_abdomen(canvas, wall, dome)
    draw_bowel(canvas, wall, dome)
    draw_vessels(canvas)
    texture = np.clip(canvas.hu + 300, 0, 200) / 200
    canvas.hu += texture * (5 * canvas.noise(9) + 4 * canvas.noise(22)).astype(np.float32)
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = canvas.first
    return Source("phantom", VERSION, canvas.hu.round(), canvas.labels, NAMES, affine)


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
    right = 172 - 58 * ((canvas.x - 72) / 78) ** 2 - 62 * ((canvas.y - 12) / 92) ** 2
    left = 160 - 58 * ((canvas.x + 72) / 78) ** 2 - 62 * ((canvas.y - 12) / 92) ** 2
    top = -blend(-right, -left, 40)
    return np.asarray(canvas.z - np.maximum(top, 60))


def draw_chest(canvas: Canvas, wall: Float[ndarray, "x y z"], dome: Float[ndarray, "x y z"]) -> None:
    """Lungs with their lobes and vessels, heart."""
    middle = canvas.ellipsoid((-8, 5, 235), (44, 90, 110))
    lungs = carve(common(wall, -dome + 3, 6), middle, 8)
    vessels = np.maximum(canvas.threads(26, 2.6), 0.8 * canvas.threads(14, 1.5))
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
    spleen = common(canvas.ellipsoid((-116, -42, 112), (38, 56, 52), tilt=20), below, 5)
    spleen = carve(spleen, canvas.ellipsoid((-72, -12, 104), (46, 48, 60)), 10) + rough
    canvas.fill(spleen, 48, IDS["spleen"])
    for side, height in ((1, 98), (-1, 106)):
        limbs = [canvas.tube([(side * 38, -28, height), (side * (38 + dx), -38, height - 18)], 3.5) for dx in (-8, 9)]
        canvas.fill(blend(limbs[0], limbs[1], 3), 30, IDS["adrenal_gland_" + ("right" if side > 0 else "left")])
    path = [(34, 30, 40), (34, 28, 62), (6, 30, 74), (-40, 8, 86), (-84, -18, 98)]
    lobules = canvas.noise(8)
    canvas.fill(canvas.tube(path, (15, 15, 11, 11, 8)) + 1.5 * lobules, 36 + 7 * lobules, IDS["pancreas"])
    draw_stomach(canvas, below)


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
    canvas.fill(canvas.tube([(x - side * 2, y + 3, z + 8), (x - side * 20, y + 6, z - 2), (x - side * 26, y + 6, z - 26), (x - side * 22, y + 14, -80)], (5, 7, 3, 2)), 10)  # fmt: skip


def draw_stomach(canvas: Canvas, below: Float[ndarray, "x y z"]) -> None:
    """Wall with folds, fluid, and gas that rises to the front of the lying patient."""
    path = [(-46, -10, 146), (-72, 2, 132), (-80, 28, 106), (-66, 50, 84), (-34, 60, 72), (0, 54, 74), (26, 44, 78)]
    stomach = common(canvas.tube(path, (20, 36, 34, 29, 24, 19, 12)), below + 3, 5) + 1.5 * canvas.noise(14)
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
    canvas.fill(
        np.maximum(bowel + 3.2, 14 - 8 * canvas.noise(60) + 40 - canvas.y), GAS, where=free & (canvas.noise(50) > 0.9)
    )
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


def draw_vessels(canvas: Canvas) -> None:
    """Aorta, inferior vena cava, portal and iliac vessels."""
    z = np.array([244, 190, 120, 60, 0, -40])
    aorta = [(float(-14 + 4 * np.sin(h / 40)), float(spine_y(h) + 33), float(h)) for h in z]
    cava = [(24, 4, 190), (26, -2, 150), (22, -4, 110), (20, spine_y(30) + 32, 30), (14, spine_y(-50) + 32, -52)]
    canvas.fill(canvas.tube(cava, (12, 12, 12, 12, 11), flat=(1.2, 0.9, 1)), 40, IDS["inferior_vena_cava"])
    canvas.fill(canvas.tube(aorta, (12, 12, 11, 10, 9, 9)), 44, IDS["aorta"])
    portal = [(56, 22, 112), (34, 18, 96), (14, 16, 78), (-36, -4, 88), (-92, -26, 106)]
    canvas.fill(canvas.tube(portal, (7, 7, 7, 5, 4)), 40, IDS["portal_vein_and_splenic_vein"])
    y = spine_y(-48) + 31
    for side, name in ((1, "right"), (-1, "left")):
        artery = [(-10, y + 2, -42), (side * 30, y - 4, -78), (side * 62, 34, -128), (side * 78, 66, -176), (side * 80, 72, -200)]  # fmt: skip
        vein = [(13, y - 2, -54), (side * 30 + 4, y - 12, -88), (side * 56, 24, -132), (side * 68, 60, -176), (side * 70, 66, -200)]  # fmt: skip
        canvas.fill(canvas.tube(vein, (9, 8, 7, 7, 7)), 40, IDS[f"iliac_vena_{name}"])
        canvas.fill(canvas.tube(artery, (7, 6, 5.5, 5, 5)), 44, IDS[f"iliac_artery_{name}"])


def _loops() -> list[list[tuple[float, float, float]]]:
    """Curves of the small bowel: arcs that fill the middle of the belly, jejunum upper left, ileum lower right."""
    from voco_lite.samples.draws import Draws

    draws, loops = Draws(0, "loops"), []
    for z in np.arange(-112, 62, 25.0):
        for y in (22.0, 50.0, 76.0):
            for x in (-66.0, -22.0, 22.0, 66.0):
                turn = draws.uniform(0, 2 * np.pi)
                angles = turn + np.linspace(0, 1.3 * np.pi, 6)
                tilt = draws.uniform(-1, 1)
                jitter = [draws.uniform(-8, 8) for _ in range(3)]
                loops.append([
                    (x + jitter[0] + 22 * np.cos(a), y + jitter[1] + 15 * np.sin(a), z + jitter[2] + 9 * tilt * np.sin(a + 1))
                    for a in angles
                ])  # fmt: skip
    return loops
