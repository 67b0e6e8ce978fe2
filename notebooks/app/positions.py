"""The position explorer as a page of its own: `make app`. Voilà runs this file and shows what its last line makes."""

from voco_lite.notebooks.build import folder
from voco_lite.viewers.app import PositionApp

PositionApp(folder().parent / "runs")
