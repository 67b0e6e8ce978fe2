"""How long explorers take to answer, on one core, and what they send to the browser.

    python tests/benchmarks/viewers.py [--rounds 15] [--voxels 96]

From a slider's new value to the new PNG in the kernel; the first picture with all that it imports is measured in a
process of its own. Maps and pointers are built once, by the encoder of the laptop preset, at stride 8. Bytes are those of
the widgets' state as it is sent, against 2 for each voxel of an image.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rounds import machine, measure

import voco_lite as vl
from voco_lite import viewers

FIRST = """
import sys, time, torch
torch.set_num_threads(1)
import voco_lite as vl
volume = vl.Volume(torch.rand(1, *[int(sys.argv[1])] * 3), torch.eye(4).double(), "noise", "prepared")
begin = time.perf_counter()
SHOWN
print(time.perf_counter() - begin)
"""
SHOWN = {
    "slices": "vl.viewers.slices(volume)",
    "explore_positions": "vl.viewers.explore_positions(None, volume, vl.CropGrid((3, 3, 1), (volume.shape[0] // 3,) * 3))",
}


def first_picture(name: str, voxels: int) -> float:
    """Seconds from the call to the first picture in a fresh kernel."""
    code = FIRST.replace("SHOWN", SHOWN[name])
    done = subprocess.run([sys.executable, "-c", code, str(voxels)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def stepping(slider: Any) -> Callable[[int], None]:
    """Moves a slider to another value in every round."""

    def step(round_: int) -> None:
        span = slider.max - slider.min
        slider.value = slider.min + (round_ * 7 + 1) % (span + 1)

    return step


def sent(box: Any) -> int:
    """Bytes of the state of a widget and of all that it holds."""
    total = 0
    for widget in [box, *getattr(box, "children", [])]:
        state = widget.get_state()
        total += sum(len(value) if isinstance(value, bytes) else len(str(value)) for value in state.values())
    return total


def timed(make: Callable[[], Any]) -> tuple[Any, float]:
    """A thing, and the seconds that it took to make."""
    begin = time.perf_counter()
    made = make()
    return made, time.perf_counter() - begin


def main() -> None:
    """Print three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--voxels", type=int, default=96, help="along each axis")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    crop = arguments.voxels // 3
    config = vl.PretrainConfig.preset("laptop", cells=(3, 3, 1), crop_size=(crop,) * 3)
    size = (arguments.voxels,) * 3
    volumes = vl.samples.population(2, vl.VolumeConfig(size=size), source="phantom")
    model, other = vl.VoCo(config), vl.VoCo(config.changed(seed=1))
    print(machine())
    for name in SHOWN:
        print(f"first picture, {name:24s} {first_picture(name, arguments.voxels):6.2f} s, goal 2 s")
    likeness, seconds = timed(lambda: viewers.similarity_map(model, volumes[0]))
    print(f"{'similarity map, stride 8':40s}{seconds:6.2f} s, goal 10 s")
    pointer, seconds = timed(lambda: viewers.point_across(model, *volumes))
    print(f"{'pointer, stride 8':40s}{seconds:6.2f} s")
    both = viewers.similarity_map({"untrained": model, "trained": other}, volumes[0])
    shown = {
        "slices": (browser := viewers.slices(volumes[0], opacity=0.3), browser.sliders[0]),
        "positions, labels only": (bare := viewers.explore_positions(None, volumes[0], config.crops), bare.sliders[0]),
        "positions, with a model": (full := viewers.explore_positions(model, volumes[0]), full.sliders[0]),
        "similarity map": (likeness, likeness.level),
        "similarity map, two models": (both, both.level),
        "pointer": (pointer, pointer.sliders[0]),
        "embedding map": (atlas := viewers.embedding_map(model, volumes, crops=20), atlas.chosen),
        "player": (player := viewers.augmentation_player(volumes[0], config), player.level),
    }
    times = measure({name: stepping(slider) for name, (_, slider) in shown.items()}, arguments.rounds, warm_up=2)
    unit, voxels = float(np.median(times["slices"])), float(np.prod(size))
    for name, (box, _) in shown.items():
        median = float(np.median(times[name]))
        print(
            f"{name:30s} slider to PNG, median {median * 1e3:6.1f} ms, goal 50 ms  ratio {median / unit:5.2f}x  "
            f"sends {sent(box) / voxels:6.3f} bytes a voxel"
        )


if __name__ == "__main__":
    main()
