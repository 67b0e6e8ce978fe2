"""Families of subjects, prepared: warps of the real CT, or of the code-made torso."""

from __future__ import annotations

import warnings
from typing import Literal

from voco_lite.config import VolumeConfig
from voco_lite.samples.cache import cached_render
from voco_lite.samples.subjects import Recipe, make_subject, to_volume
from voco_lite.volumes import Volume, prepare

Size = tuple[int, int, int]
_FEW = 4  # subjects that need no progress bar


def population(
    n: int,
    config: VolumeConfig,
    first_seed: int = 0,
    source: Literal["auto", "real", "phantom"] = "auto",
    cache: bool = True,
    progress: bool = True,
) -> list[Volume]:
    """Subjects of one family, prepared; seeds ``first_seed`` to ``first_seed + n - 1``.

    Every subject is a random warp of one scan with its own contrast phase, lesions and noise. The real scan is one
    patient: what is learnt from it is a demonstration.

    Args:
        n: Number of subjects.
        config: How they are prepared.
        first_seed: Seed of the first; choose seeds apart for training and for holding out.
        source: "real" warps the abdomen CT, "phantom" the code-made torso, "auto" the CT where it was fetched.
        cache: Keep rendered subjects in the data folder.
        progress: Show a progress bar when there are more than a few.

    Raises:
        ValueError: Unknown source, or ``n`` below 1.
        FileNotFoundError: source is "real" and the CT was not fetched.
    """
    from tqdm.auto import tqdm

    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}. Give the number of subjects, such as 24.")
    name = _source_name(source)
    seeds = range(first_seed, first_seed + n)
    shown = tqdm(seeds, desc=f"subjects from {name}", unit="subject", disable=not progress or n <= _FEW, leave=False)
    return [prepare(_subject(Recipe(name, seed), config, cache), config) for seed in shown]


def population_subject(
    seed: int, size: Size | None = None, source: Literal["auto", "real", "phantom"] = "auto"
) -> Volume:
    """One subject in HU; ``size`` None keeps the source's grid."""
    return make_subject(Recipe(_source_name(source), seed), size)


def phantoms(n: int, config: VolumeConfig, first_seed: int = 0, cache: bool = True) -> list[Volume]:
    """Code-made torsos, prepared; seeds ``first_seed`` to ``first_seed + n - 1``."""
    return population(n, config, first_seed, source="phantom", cache=cache)


def phantom(seed: int, size: Size | None = (96, 96, 96)) -> Volume:
    """One code-made torso in HU.

    Args:
        seed: Decides everything about it; two sizes of one seed show the same body.
        size: In voxels along (x, y, z); the field of view is the same whatever the size.
    """
    return make_subject(Recipe("phantom", seed), size)


def _subject(recipe: Recipe, config: VolumeConfig, cache: bool) -> Volume:
    """In HU, at the prepared size where nothing but the size shapes the grid: sampled once, not twice."""
    direct = config.size if config.spacing is None and config.foreground is None else None
    return to_volume(recipe, cached_render(recipe, direct)) if cache else make_subject(recipe, direct)


def _source_name(source: str) -> str:
    """Key of the source to warp."""
    from voco_lite.samples.sources import real_source

    if source not in ("auto", "real", "phantom"):
        raise ValueError(f'source must be "auto", "real" or "phantom", got {source!r}. "auto" is right for most.')
    if source == "phantom":
        return "phantom"
    try:
        real_source()
    except FileNotFoundError as error:
        if source == "real":
            raise
        warnings.warn(f"{error} Phantoms are used instead.", stacklevel=3)
        return "phantom"
    return "abdomen-ct"
