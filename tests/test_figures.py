"""The moving picture of the README comes from the position explorer itself."""

import importlib.util
import io
from pathlib import Path

import pytest
import torch
from PIL import Image

import voco_lite as vl
from voco_lite import viewers

FILE = Path(__file__).parents[1] / "notebooks" / "figures" / "make.py"


@pytest.fixture(scope="module")
def make():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("make_figures", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def explorer():
    """Without a model, over noise; its crop moves in the axial plane only."""
    return viewers.explore_positions(
        None, torch.rand(18, 18, 6, generator=torch.Generator().manual_seed(0)), vl.CropGrid((3, 3, 1), (6, 6, 6))
    )


def test_a_frame_is_the_explorers_picture_after_its_sliders_moved(make, explorer):
    before = explorer.image.value
    frame = make.explorer_frame(explorer, 1 / 8)
    assert explorer.point == (10, 12, 0) and explorer.image.value != before
    assert frame.tobytes() == Image.open(io.BytesIO(explorer.image.value)).convert("RGB").tobytes()


def test_the_path_reaches_every_border_and_is_closed(make, explorer):
    places = []
    for number in range(33):
        make.explorer_frame(explorer, number / 32)
        places.append(explorer.point[:2])
    assert places[0] == places[-1]
    assert all({min(values), max(values)} == {0, 12} for values in zip(*places, strict=True))


def test_the_moving_picture_has_every_frame_and_is_small(make, explorer, tmp_path, monkeypatch):
    monkeypatch.setattr(make, "explorer_of", lambda run: explorer)
    make.save_gif(None, tmp_path / "moving.gif", frames=4)
    assert Image.open(tmp_path / "moving.gif").n_frames == 4
