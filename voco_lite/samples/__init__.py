"""Sample volumes: a real abdomen CT, a population of its warps, and phantoms made by code."""

from __future__ import annotations

from voco_lite.samples.abdomen import abdomen_ct
from voco_lite.samples.manifest import manifest
from voco_lite.samples.population import phantom, phantoms, population, population_subject
from voco_lite.samples.store import FetchError, catalogue, check, data_folder, fetch
from voco_lite.samples.subjects import lesion_mask

__all__ = [
    "FetchError",
    "abdomen_ct",
    "catalogue",
    "check",
    "data_folder",
    "fetch",
    "lesion_mask",
    "manifest",
    "phantom",
    "phantoms",
    "population",
    "population_subject",
]
