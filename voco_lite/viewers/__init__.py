"""Look at volumes, labels, predictions and runs.

Every explorer is a picture drawn by the kernel, which needs no WebGL and stays in a saved notebook; `view` offers 3-D views
beside it. The patient's right is on the left.
"""

from __future__ import annotations

from voco_lite.viewers.benchmarks import plot_differences, plot_learning_curves, plot_scores
from voco_lite.viewers.curves import plot_curves, plot_history, plot_similarity, plot_spectrum
from voco_lite.viewers.embeddings import EmbeddingMap, embedding_map
from voco_lite.viewers.explorer import PositionExplorer, explore_positions, predict_overlaps
from voco_lite.viewers.pictures import Picture, PictureBox
from voco_lite.viewers.player import AugmentationPlayer, augmentation_player
from voco_lite.viewers.point_errors import PointErrors
from voco_lite.viewers.pointer import CrossPatientPointer, point_across
from voco_lite.viewers.positions import show_position_labels
from voco_lite.viewers.rows import side_by_side
from voco_lite.viewers.scene import Box, base_crop_boxes, heat_over
from voco_lite.viewers.similarity import SimilarityMap, similarity_map
from voco_lite.viewers.slices import SliceBrowser, describe_voxel, slices
from voco_lite.viewers.theatre import TrainingTheatre
from voco_lite.viewers.view import view
from voco_lite.viewers.webgl import WebGLReport, webgl_report

__all__ = [
    "AugmentationPlayer",
    "Box",
    "CrossPatientPointer",
    "EmbeddingMap",
    "Picture",
    "PictureBox",
    "PointErrors",
    "PositionExplorer",
    "SimilarityMap",
    "SliceBrowser",
    "TrainingTheatre",
    "WebGLReport",
    "augmentation_player",
    "base_crop_boxes",
    "describe_voxel",
    "embedding_map",
    "explore_positions",
    "heat_over",
    "plot_curves",
    "plot_differences",
    "plot_history",
    "plot_learning_curves",
    "plot_scores",
    "plot_similarity",
    "plot_spectrum",
    "point_across",
    "predict_overlaps",
    "show_position_labels",
    "side_by_side",
    "similarity_map",
    "slices",
    "view",
    "webgl_report",
]
