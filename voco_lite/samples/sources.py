"""The labelled scan that a family of subjects is warped from, with what is measured on it once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import ndimage
from torch import Tensor

AIR_HU = -1024.0
LUNGS = ("lung_lower_lobe_right", "lung_upper_lobe_left")
SWELLING_ORGANS = ("liver", "spleen", "stomach", "kidney_right", "kidney_left", "urinary_bladder", "heart")
LESION_ORGANS = ("liver", "spleen", "kidney_right", "kidney_left", "pancreas", *LUNGS)
KIDNEY_CORTEX = 200  # a paint id beyond every organ id: the cortex takes up contrast before the medulla
CORTEX_MM = 7.0
STIFF = ("vertebrae", "sacrum", "hip", "spinal_cord")
SUBCUTANEOUS_MM = 25.0


@dataclass(frozen=True, eq=False)
class Level:
    """The scan at one resolution.

    Attributes:
        hu: Intensity in HU, float32.
        paint: Organ ids, with the kidneys' cortex on its own.
        first: RAS mm of the first voxel's centre.
        spacing: Voxel size in mm.
    """

    hu: Float[ndarray, "x y z"]
    paint: Int[ndarray, "x y z"]
    first: Float[ndarray, "3"]
    spacing: Float[ndarray, "3"]


@dataclass(frozen=True, eq=False)
class Source:
    """A labelled CT on an axis-aligned RAS grid.

    Attributes:
        name: Where it comes from.
        version: Changes whenever its voxels change; part of every cache key.
        hu: Intensity in HU, float32.
        labels: Organ ids, uint8; 0 is everything without a name.
        names: Organ names by id.
        affine: Voxel index to RAS mm, without rotation.
        phase: Contrast phase of the scan.
    """

    name: str
    version: str
    hu: Float[ndarray, "x y z"]
    labels: Int[ndarray, "x y z"]
    names: dict[int, str]
    affine: Float[ndarray, "4 4"]
    phase: str = "native"

    @property
    def spacing(self) -> Float[ndarray, "3"]:
        """Voxel size in mm."""
        return np.array(self.affine.diagonal()[:3])

    @property
    def box(self) -> tuple[Float[ndarray, "3"], Float[ndarray, "3"]]:
        """Lower and upper corner in RAS mm, half a voxel beyond the outer voxel centres."""
        low = self.affine[:3, 3] - self.spacing / 2
        return low, low + self.spacing * self.hu.shape

    @cached_property
    def ids(self) -> dict[str, int]:
        """Ids by name, of the organs that are present."""
        present = set(np.unique(self.labels).tolist())
        return {name: number for number, name in self.names.items() if number in present}

    @property
    def swelling_organs(self) -> list[str]:
        """Organs that grow and shrink on their own, where present."""
        return [name for name in SWELLING_ORGANS if name in self.ids]

    @property
    def lesion_organs(self) -> list[str]:
        """Organs that lesions are put into, where present."""
        return [name for name in LESION_ORGANS if name in self.ids]

    @cached_property
    def _boxes(self) -> dict[str, tuple[slice, ...]]:
        found = ndimage.find_objects(self.labels)
        return {name: found[number - 1] for name, number in self.ids.items()}

    def place(self, organ: str) -> tuple[Float[ndarray, "3"], float]:
        """Centre of an organ in RAS mm, and the radius in mm of the ball of its volume."""
        return self._places[organ]

    @cached_property
    def _places(self) -> dict[str, tuple[Float[ndarray, "3"], float]]:
        result = {}
        for organ, box in self._boxes.items():
            voxels = np.argwhere(self.labels[box] == self.ids[organ]) + [s.start for s in box]
            volume = len(voxels) * float(self.spacing.prod())
            center = voxels.mean(0) * self.spacing + self.affine[:3, 3]
            result[organ] = (center, (3 * volume / (4 * np.pi)) ** (1 / 3))
        return result

    def depth(self, organ: str) -> tuple[Float[ndarray, "x y z"], Float[ndarray, "3"]]:
        """Distance in mm to the organ's surface, 0 outside the organ, in its box; and the box's first voxel in mm."""
        if organ not in self._depths:
            box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in self._boxes[organ])
            inside = ndimage.distance_transform_edt(self.labels[box] == self.ids[organ], sampling=self.spacing)
            first = np.array([s.start for s in box]) * self.spacing + self.affine[:3, 3]
            self._depths[organ] = (np.asarray(inside), first)
        return self._depths[organ]

    @cached_property
    def _depths(self) -> dict[str, tuple[Float[ndarray, "x y z"], Float[ndarray, "3"]]]:
        return {}

    @cached_property
    def midline_mm(self) -> float:
        """Left-right position of the spine, in RAS mm; +x is the patient's right."""
        spine = [name for name in self.ids if name.startswith("vertebrae")] or list(self.ids)
        return float(np.median([self.place(name)[0][0] for name in spine]))

    @cached_property
    def full(self) -> Level:
        """The scan as it is, without the table."""
        paint = self.labels.astype(np.uint8)
        for organ in ("kidney_right", "kidney_left"):
            if organ in self.ids:
                depth, _ = self.depth(organ)
                box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in self._boxes[organ])
                paint[box][(depth > 0) & (depth <= CORTEX_MM)] = KIDNEY_CORTEX
        hu = np.where(ndimage.binary_dilation(self.body), self.hu, np.float32(AIR_HU)).astype(np.float32)
        return Level(hu, paint, self.affine[:3, 3], self.spacing)

    @cached_property
    def half(self) -> Level:
        """Half the resolution, for subjects on coarse grids."""
        whole = self.full
        even = tuple(slice(0, n - n % 2) for n in self.hu.shape)
        blocks = whole.hu[even].reshape(*(x for n in self.hu.shape for x in (n // 2, 2)))
        paint = whole.paint[even][::2, ::2, ::2]
        return Level(blocks.mean((1, 3, 5)), paint, whole.first + whole.spacing / 2, whole.spacing * 2)

    @cached_property
    def body(self) -> ndarray:
        """Voxels of the patient: the largest thing denser than fat's lower end, with what it encloses in a slice."""
        dense = ndimage.binary_opening(self.hu > -300, iterations=1)
        groups, _ = ndimage.label(dense)
        largest = groups == np.bincount(groups[dense]).argmax()
        return np.stack([ndimage.binary_fill_holes(largest[..., z]) for z in range(self.hu.shape[2])], axis=-1)

    def outward_normals(self, points: Float[ndarray, "*grid 3"]) -> Float[ndarray, "*grid 3"]:
        """Direction out of the body times a weight: 1 at the skin and beyond, 0 below the subcutaneous fat."""
        place = ((points - self.affine[:3, 3]) / (2 * self.spacing)).reshape(-1, 3).T
        sampled = [ndimage.map_coordinates(part, place, order=1, mode="nearest") for part in self._weighted_normals]
        return np.stack(sampled, -1).reshape(points.shape)

    @cached_property
    def _weighted_normals(self) -> Float[ndarray, "3 i j k"]:
        body, spacing = self.body[::2, ::2, ::2], 2 * self.spacing
        depth = ndimage.distance_transform_edt(body, sampling=spacing)
        height = ndimage.distance_transform_edt(~body, sampling=spacing)
        signed = ndimage.gaussian_filter(height - depth, 2.5)
        normal = np.stack(np.gradient(signed, *spacing))
        normal[2] *= 0.3  # the layer thickens sideways; along the body there is no skin to move
        weight = ndimage.gaussian_filter(np.clip(1 - depth / SUBCUTANEOUS_MM, 0, 1), 1.0)
        return np.asarray(normal * weight)

    def stiffness(self, points: Float[ndarray, "*grid 3"]) -> Float[ndarray, "*grid 1"]:
        """1 in the spine and pelvis, falling to 0 around them: bones bend less than what they hold."""
        place = ((points - self.affine[:3, 3]) / (2 * self.spacing)).reshape(-1, 3).T
        sampled = ndimage.map_coordinates(self._bones, place, order=1, mode="nearest")
        return np.asarray(sampled).reshape(*points.shape[:-1], 1)

    @cached_property
    def _bones(self) -> Float[ndarray, "i j k"]:
        stiff = [number for name, number in self.ids.items() if name.startswith(STIFF)]
        mask = np.isin(self.labels[::2, ::2, ::2], stiff).astype(np.float64)
        return np.asarray(np.clip(2.5 * ndimage.gaussian_filter(mask, 12.0 / (2 * self.spacing)), 0, 1))

    def labels_at(self, points: Float[Tensor, "*grid 3"]) -> Int[Tensor, "*grid"]:
        """Organ id of the nearest voxel; beyond the scan that of its border."""
        kind, strides = points.dtype, (self.labels.shape[1] * self.labels.shape[2], self.labels.shape[2], 1)
        place = (points - torch.tensor(self.affine[:3, 3], dtype=kind)) / torch.tensor(self.spacing, dtype=kind)
        last = torch.tensor(self.labels.shape, dtype=kind) - 1
        nearest = place.round().clamp(torch.zeros(3, dtype=kind), last).int()
        flat = nearest[..., 0] * strides[0] + nearest[..., 1] * strides[1] + nearest[..., 2]
        return torch.from_numpy(self.labels).flatten()[flat]


@cache
def real_source() -> Source:
    """The real abdomen CT.

    Raises:
        FileNotFoundError: It was not fetched.
    """
    from voco_lite.samples.abdomen import read_abdomen_ct

    hu, labels, names, affine, digest = read_abdomen_ct()
    return Source("abdomen-ct", digest[:12], hu, labels, names, affine)


@cache
def phantom_source() -> Source:
    """The code-made torso that phantoms are warped from; drawn once, then read from the cache."""
    from voco_lite.samples.anatomy import NAMES
    from voco_lite.samples.disk import code_version, read_arrays, write_arrays
    from voco_lite.samples.torso import draw_torso, torso_affine

    name = f"torso-{code_version()}"
    arrays = read_arrays(name)
    if arrays is None or set(arrays) != {"hu", "labels"}:
        hu, labels = draw_torso()
        arrays = {"hu": hu, "labels": labels}
        write_arrays(name, arrays)
    return Source("phantom", name, arrays["hu"].astype(np.float32), arrays["labels"], NAMES, torso_affine())
