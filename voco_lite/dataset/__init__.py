"""From prepared volumes to batches: what a draw decides (`draws`), and in which order volumes are shown (`order`)."""

from voco_lite.dataset.draws import Sample, Samples, VoCoBatch, VoCoDataset
from voco_lite.dataset.order import DrawSampler, mixed_seed

__all__ = ["DrawSampler", "Sample", "Samples", "VoCoBatch", "VoCoDataset", "mixed_seed"]
