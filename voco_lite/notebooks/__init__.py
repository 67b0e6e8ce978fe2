"""Build the notebooks, run them with checked parameters, read their numbers back, and find what one made for another."""

from __future__ import annotations

from voco_lite.notebooks.build import build, names
from voco_lite.notebooks.results import RESULTS, summary, write_results
from voco_lite.notebooks.run import NotebookFailed, run
from voco_lite.notebooks.starting import checkpoint_of_05, pretrained_start

__all__ = [
    "RESULTS",
    "NotebookFailed",
    "build",
    "checkpoint_of_05",
    "names",
    "pretrained_start",
    "run",
    "summary",
    "write_results",
]
