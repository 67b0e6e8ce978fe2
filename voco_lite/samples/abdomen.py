"""The real abdomen CT: one patient, with the organs that a model found."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from voco_lite.config import VolumeConfig
from voco_lite.samples.manifest import ABDOMEN_CT
from voco_lite.samples.store import data_folder
from voco_lite.volumes import Volume, prepare


def abdomen_ct(config: VolumeConfig | None = None) -> Volume:
    """The real CT with its 117-class map; in HU on its own grid, or prepared.

    Raises:
        FileNotFoundError: It was not fetched.
        ValueError: A file is not the one of the manifest.
    """
    hu, labels, names, affine, _ = read_abdomen_ct()
    volume = Volume(
        data=torch.from_numpy(hu.copy())[None],
        affine=torch.from_numpy(affine.copy()),
        source="abdomen-ct",
        units="HU",
        labels=torch.from_numpy(labels.copy()),
        label_names=dict(names),
        attributes={"recipe": "abdomen-ct", "contrast_phase": "native", "lesions": []},
    )
    return volume if config is None else prepare(volume, config)


@cache
def read_abdomen_ct() -> tuple[
    Float[ndarray, "x y z"], Int[ndarray, "x y z"], dict[int, str], Float[ndarray, "4 4"], str
]:
    """Intensity in HU, organ ids, their names, affine (RAS, mm) and the sha256 of both files.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: A file is not the one of the manifest.
    """
    import nibabel

    folder, digests, images = data_folder(), [], []
    for file in ABDOMEN_CT.files:
        path = folder / file.name
        if not path.is_file():
            raise FileNotFoundError(
                f"The real CT needs {file.name} in {folder}, which is not there. "
                "Fetch it with `python -m voco_lite samples fetch` (38 MB), or use samples.phantoms."
            )
        content = path.read_bytes()
        digests.append(hashlib.sha256(content).hexdigest())
        if digests[-1] != file.sha256:
            raise ValueError(
                f"{path} must have sha256 {file.sha256}, got {digests[-1]}. "
                "Delete it and run `python -m voco_lite samples fetch`."
            )
        images.append(nibabel.Nifti1Image.from_bytes(gzip.decompress(content)))
    scan, organs = images
    hu = np.asarray(scan.dataobj, dtype=np.float32)
    labels = np.asarray(organs.dataobj).astype(np.uint8)
    digest = hashlib.sha256("".join(digests).encode()).hexdigest()
    return hu, labels, _names(organs), np.asarray(scan.affine, dtype=np.float64), digest


def _names(organs: Any) -> dict[int, str]:
    """Organ names by id, from the label table in the header."""
    table = organs.header.extensions[0].get_content()
    text = table.decode() if isinstance(table, bytes) else str(table)
    return {
        int(row.get("Key", "0")): row.text or "" for row in ElementTree.fromstring(text.strip("\0 \n")).iter("Label")
    }
