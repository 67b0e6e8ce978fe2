"""From prepared volumes to batches: what a draw decides (`draws`), what it holds (`batches`), who is next (`order`)."""

from voco_lite.dataset.batches import Sample, Samples, VoCoBatch
from voco_lite.dataset.draws import VoCoDataset
from voco_lite.dataset.order import DrawSampler, mixed_seed

__all__ = ["DrawSampler", "Sample", "Samples", "VoCoBatch", "VoCoDataset", "mixed_seed"]
