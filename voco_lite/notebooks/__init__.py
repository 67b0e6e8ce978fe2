"""Build the notebooks from their sources, run them with checked parameters, and read their numbers back."""

from __future__ import annotations

from voco_lite.notebooks.build import build, names
from voco_lite.notebooks.results import RESULTS, summary, write_results
from voco_lite.notebooks.run import NotebookFailed, run

__all__ = ["RESULTS", "NotebookFailed", "build", "names", "run", "summary", "write_results"]
