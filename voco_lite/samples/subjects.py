"""One subject: a source, warped and scanned anew, with everything about it that a lesson may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from voco_lite.samples.appearance import LOOK, LookStrength, paint, scan
from voco_lite.samples.lesions import Lesion, describe, draw_lesions, mark
from voco_lite.samples.sources import Source, phantom_source, real_source
from voco_lite.samples.warps import STRENGTH, Warp, WarpStrength, displacement, draw_warp, voxel_points
from voco_lite.volumes import Volume

RECIPE_VERSION = 1  # raise it when the same seed gives another subject
SOURCES = {"abdomen-ct": real_source, "phantom": phantom_source}
COARSE = 1.6  # voxels this many times the source's are sampled from the source at half resolution


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a subject but its size in voxels.

    Attributes:
        source: Key of `SOURCES`.
        seed: The subject's.
        strength: How far shapes differ.
        look: How far intensities differ.
    """

    source: str
    seed: int
    strength: WarpStrength = STRENGTH
    look: LookStrength = LOOK

    @property
    def origin(self) -> Source:
        """The source that is warped."""
        return SOURCES[self.source]()

    @property
    def warp(self) -> Warp:
        """Where the subject's points lie in the source; computed when asked for, a few are kept."""
        return _warp(self)

    @property
    def lesions(self) -> tuple[Lesion, ...]:
        """The lesions that were put in."""
        return draw_lesions(self.origin, self.seed)


@lru_cache(maxsize=4)
def _warp(recipe: Recipe) -> Warp:
    return draw_warp(recipe.origin, recipe.seed, recipe.strength)


@dataclass(frozen=True)
class Displacement:
    """A displacement that is computed when it is asked for, since stored ones would fill the memory.

    Attributes:
        recipe: The subject's.
        toward: "source" or "subject".
    """

    recipe: Recipe
    toward: str

    def __call__(self, affine: Float[Tensor, "4 4"], size: tuple[int, int, int]) -> Float[Tensor, "3 x y z"]:
        """Displacement in mm at the voxel centres of an axis-aligned grid in RAS.

        Toward the source: a subject's point p shows the source's point p + u(p). Toward the subject: the source's
        point q is seen at q + v(q). Both are inverse to each other within a tenth of a millimetre on average.
        """
        return displacement(self.recipe.warp, affine.double(), size, self.toward)


Rendered = tuple[Float[Tensor, "x y z"], Int[Tensor, "x y z"], dict[str, Any]]


def make_subject(recipe: Recipe, size: tuple[int, int, int] | None = None) -> Volume:
    """The subject in HU at a size in voxels; None keeps the source's."""
    return to_volume(recipe, render(recipe, size))


def render(recipe: Recipe, size: tuple[int, int, int] | None = None) -> Rendered:
    """HU, organ ids and attributes of a subject."""
    source, warp = recipe.origin, recipe.warp
    grid = size or (int(source.hu.shape[0]), int(source.hu.shape[1]), int(source.hu.shape[2]))
    affine = warp.affine(grid)
    spacing = affine.diagonal()[:3]
    level = source.half if (spacing.numpy() / source.spacing).min() >= COARSE else source.full
    inner = warp.to_source(voxel_points(affine, grid, torch.float32))
    painted, contrast = paint(source, level, recipe.seed, recipe.lesions, recipe.look)
    hu, scanner = scan(painted, level, recipe.seed, inner, spacing, recipe.look)
    scale = warp.traits["scale"]
    attributes = {
        "recipe": f"{recipe.source} {source.version} version {RECIPE_VERSION}",
        "seed": recipe.seed,
        "body_shape": {"name": _shape_name(scale), "scale": scale, "fat_mm": warp.traits["fat_mm"]},
        "rotation_deg": warp.traits["rotation_deg"],
        "organ_growth": warp.traits["organ_growth"],
        "field_of_view_mm": [round(float(length), 1) for length in warp.view_mm],
        **contrast,
        **scanner,
        "lesions": [describe(lesion, source, warp) for lesion in recipe.lesions],
    }
    return hu, source.labels_at(inner), attributes


def to_volume(recipe: Recipe, rendered: Rendered) -> Volume:
    """The Volume of a rendered subject."""
    hu, labels, attributes = rendered
    return Volume(
        data=hu[None].float(),
        affine=recipe.warp.affine((hu.shape[0], hu.shape[1], hu.shape[2])),
        source=f"{recipe.source}, seed {recipe.seed}",
        units="HU",
        labels=labels,
        label_names=dict(recipe.origin.names),
        attributes=attributes,
        to_source=Displacement(recipe, "source"),
        from_source=Displacement(recipe, "subject"),
    )


def lesion_mask(volume: Volume) -> Int[Tensor, "x y z"]:
    """Number of the lesion in every voxel of a subject, as in ``volume.attributes["lesions"]`` from 1; 0 elsewhere."""
    recipe = volume.to_source.recipe
    inner = recipe.warp.to_source(voxel_points(volume.affine, volume.shape))
    return mark(recipe.lesions, recipe.origin, inner)


def _shape_name(scale: list[float]) -> str:
    bulk = (scale[0] * scale[1]) ** 0.5
    return "slim" if bulk < 0.96 else "large" if bulk > 1.04 else "average"
