"""Official VoCo weights: recognise, download, load with a report, and write files that MONAI loads."""

from voco_lite.official_weights.describing import describe_weights
from voco_lite.official_weights.download import download_official_weights
from voco_lite.official_weights.exporting import export_swinunetr
from voco_lite.official_weights.known import KNOWN_FILES, KnownFile, identify
from voco_lite.official_weights.loading import load_official_weights
from voco_lite.official_weights.merging import LegacyPatchMerging, merging_of, set_merging
from voco_lite.official_weights.report import LoadReport, Mismatch
from voco_lite.official_weights.starting import find_weights, fitting_encoder, start_from_weights

__all__ = [
    "KNOWN_FILES",
    "KnownFile",
    "LegacyPatchMerging",
    "LoadReport",
    "Mismatch",
    "describe_weights",
    "download_official_weights",
    "export_swinunetr",
    "find_weights",
    "fitting_encoder",
    "identify",
    "load_official_weights",
    "merging_of",
    "set_merging",
    "start_from_weights",
]
