"""A small data set in the layout of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json

import nibabel
import numpy as np


def msd_layout(folder, n=5):
    """Scans of 32 voxels with a bright box, labelled 1, in a folder that is made."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    cases = []
    for number in range(n):
        labels = np.zeros((32, 32, 32), np.uint8)
        labels[8:20, 10:22, 6 + number : 20] = 1
        image = np.where(labels, 120.0, -60.0).astype(np.float32)
        for part, array in (("imagesTr", image), ("labelsTr", labels)):
            nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 2.0, 2.0, 1.0])), folder / part / f"{number}.nii.gz")
        cases.append({"image": f"./imagesTr/{number}.nii.gz", "label": f"./labelsTr/{number}.nii.gz"})
    content = {"name": "boxes", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "box"}, "training": cases}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder
