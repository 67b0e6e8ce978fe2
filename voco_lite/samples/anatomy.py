"""Names, places and densities that the code-made torso is drawn from."""

from __future__ import annotations

import numpy as np

# Height of the middle of each vertebral body, in mm above L3.
LEVELS = {27: -72.0, 28: -36.0, 29: 0.0, 30: 34.0, 31: 67.0, 32: 98.0, 33: 128.0, 34: 156.0, 35: 183.0, 36: 209.0,
          37: 234.0}  # fmt: skip
_NAMES = ("L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10", "T9", "T8", "T7")
VERTEBRAE = {label: f"vertebrae_{name}" for label, name in zip(LEVELS, _NAMES, strict=True)}
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
SIDES = ((1, "right"), (-1, "left"))
SPINE_Z = (-190, -140, -105, -72, -20, 40, 100, 170, 245)
SPINE_Y = (-86, -92, -72, -40, -28, -32, -42, -54, -58)
IDS = {name: number for number, name in NAMES.items()}
FAT, MUSCLE, SKIN, LUNG, FLUID, GAS = -102.0, 52.0, 25.0, -860.0, 8.0, -980.0


def spine_y(z: float) -> float:
    """Front-back position in mm of the vertebral bodies' middle: forward in the loins, back in chest and pelvis."""
    return float(np.interp(z, SPINE_Z, SPINE_Y))
