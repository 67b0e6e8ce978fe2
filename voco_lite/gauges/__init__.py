"""Gauges: is it learning? Levels, position accuracy on held-out volumes, measures of collapse, probes, a verdict."""

from voco_lite.gauges.embeddings import effective_rank, spread
from voco_lite.gauges.held_out import HeldOut, measure_held_out, position_top1
from voco_lite.gauges.levels import Levels, levels
from voco_lite.gauges.probe_crops import OrganCrops, RegionCrops, organ_crops, region_crops
from voco_lite.gauges.probes import Comparison, compare, features_of, knn_by_subject, linear_by_subject
from voco_lite.gauges.verdict import Verdict, verdict

__all__ = [
    "Comparison",
    "HeldOut",
    "Levels",
    "OrganCrops",
    "RegionCrops",
    "Verdict",
    "compare",
    "effective_rank",
    "features_of",
    "knn_by_subject",
    "levels",
    "linear_by_subject",
    "measure_held_out",
    "organ_crops",
    "position_top1",
    "region_crops",
    "spread",
    "verdict",
]
