"""Which class a whole scan belongs to: from what is known about a made subject, or from arrays with their labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy import ndarray

from voco_lite.samples.appearance import PHASES
from voco_lite.volumes import Volume

# What can be asked of the sample population, and the answers.
POPULATION: dict[str, tuple[str, ...]] = {
    "lesion": ("absent", "present"),
    "contrast_phase": PHASES,
    "body_shape": ("slim", "average", "large"),
}
GIVEN = "class"  # attribute of volumes made from arrays
_BRIGHTEST = 255


def class_name(volume: Volume, attribute: str) -> str:
    """What a subject is, by name.

    Args:
        volume: A subject of the sample population, or any with the attribute as a string.
        attribute: "lesion" (is there at least one?), "contrast_phase", "body_shape", or another attribute's name.

    Raises:
        ValueError: The subject does not have the attribute, or it is no name.
    """
    stored = volume.attributes.get("lesions" if attribute == "lesion" else attribute)
    if attribute == "lesion" and isinstance(stored, list):
        return POPULATION["lesion"][len(stored) > 0]
    if attribute == "body_shape" and isinstance(stored, dict):
        stored = stored.get("name")
    if not isinstance(stored, str) or attribute == "lesion":
        raise ValueError(
            f"{volume.source} must have the attribute {attribute!r}, got {sorted(volume.attributes) or 'none'}. "
            f"Subjects of the sample population have {', '.join(POPULATION)}; others need attributes of their own."
        )
    return stored


def class_numbers(volumes: Sequence[Volume], attribute: str, classes: Sequence[str]) -> list[int]:
    """Each subject's class, as a place in `classes`.

    Raises:
        ValueError: As `class_name`, or a class that is not among `classes`.
    """
    names = [class_name(volume, attribute) for volume in volumes]
    for volume, name in zip(volumes, names, strict=True):
        if name not in classes:
            raise ValueError(f"{attribute} of {volume.source} must be one of {tuple(classes)}, got {name!r}. Add it.")
    return [list(classes).index(name) for name in names]


def volumes_from_arrays(images: ndarray, labels: ndarray, classes: Sequence[str], name: str) -> list[Volume]:
    """Prepared volumes of images that were read elsewhere, such as MedMNIST3D's, with their class as an attribute.

    `medmnist3d.medmnist_split` makes them of MedMNIST3D. Where such an image lies in the patient is unknown, so that a
    voxel counts as 1 mm. Learn with `ClassificationConfig(attribute="class", classes=classes)`.

    Args:
        images: (subjects, x, y, z) or (subjects, channel, x, y, z); bytes (0 to 255), or floats in [0, 1].
        labels: Number of each subject's class: (subjects,) or (subjects, 1).
        classes: Their names, by number.
        name: Of the images, such as "organmnist3d train"; their sources are this and a number.

    Raises:
        ValueError: Another shape, type or range, or a number that no class has.
    """
    if images.ndim not in (4, 5) or labels.size != len(images):
        raise ValueError(
            "images must be (subjects, x, y, z) or (subjects, channel, x, y, z) with one label each, got "
            f"{images.shape} and labels {labels.shape}. Take images and labels of the same part."
        )
    brightest = _BRIGHTEST if images.dtype.name == "uint8" else 1
    known = images.size > 0 and images.dtype.kind in "uf"
    if not known or not (images.min() >= 0 and images.max() <= brightest):
        found = f"{images.dtype} from {images.min()} to {images.max()}" if known else f"{images.dtype} {images.shape}"
        raise ValueError(
            f"images must be bytes, or floats in [0, 1], got {found}. Divide by the brightest value there can be."
        )
    data = torch.tensor(images, dtype=torch.float32) / brightest
    numbers = labels.reshape(-1)
    if labels.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() >= len(classes):
        raise ValueError(
            f"labels must be whole numbers from 0 to {len(classes) - 1}, got {labels.dtype} from {numbers.min()} to "
            f"{numbers.max()}. Name every class in order."
        )
    affine = torch.eye(4, dtype=torch.float64)
    return [
        Volume(
            image if images.ndim == 5 else image[None],
            affine,
            f"{name} {index}",
            "prepared",
            attributes={GIVEN: classes[int(number)]},
        )
        for index, (image, number) in enumerate(zip(data, numbers, strict=True))
    ]
