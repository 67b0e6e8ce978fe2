"""How long every explorer and 3-D view takes to appear and to answer, on one core, and what it sends to the browser.

    python tests/benchmarks/viewers.py [--rounds 15] [--voxels 96]

"First picture" is the call that makes the widget, in a process forked for it that has imported voco_lite but neither
widgets nor matplotlib. "Slider to PNG" is
from a slider's new value to the new picture in the kernel; of the training theatre, which has no slider, it is a redraw.
Models are the laptop preset's, untrained; maps and pointers slide crops at stride 8. Bytes are those of all messages to
the browser for a new value, and for a view to appear, without the script of the viewer itself; its still picture is named
apart.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import comm
import numpy as np
import torch
from rounds import machine, measure

import voco_lite as vl  # its `viewers` are imported when one is first asked for, which belongs to the first picture

_SCRIPTS = ("_esm", "_css")
_RECORD = {"step": 1, "intra": 0.7, "inter": 0.5, "regularizer": 0.1}


@dataclass
class Things:
    """What is shown, all of one size."""

    volumes: list[vl.Volume]
    config: vl.PretrainConfig
    model: vl.VoCo

    @classmethod
    def of_size(cls, voxels: int) -> Things:
        """Two subjects drawn by code, and an untrained network."""
        config = vl.PretrainConfig.preset("laptop", cells=(3, 3, 1), crop_size=(voxels // 3,) * 3)
        volumes = vl.samples.population(2, vl.VolumeConfig(size=(voxels,) * 3), source="phantom")
        return cls(volumes, config, vl.VoCo(config))

    @property
    def two_models(self) -> dict[str, vl.VoCo]:
        """The network, and another one."""
        return {"one": self.model, "other": vl.VoCo(self.config.changed(seed=1))}


def theatre(things: Things) -> Any:
    """A training theatre after its first record."""
    shown = vl.viewers.TrainingTheatre(things.volumes)
    shown(dict(_RECORD), things.model)
    return shown


EXPLORERS: dict[str, Callable[[Things], Any]] = {
    "slices": lambda t: vl.viewers.slices(t.volumes[0], opacity=0.3),
    "positions, labels only": lambda t: vl.viewers.explore_positions(None, t.volumes[0], t.config.crops),
    "positions, with a model": lambda t: vl.viewers.explore_positions(t.model, t.volumes[0]),
    "similarity map": lambda t: vl.viewers.similarity_map(t.model, t.volumes[0]),
    "similarity map, two models": lambda t: vl.viewers.similarity_map(t.two_models, t.volumes[0]),
    "pointer": lambda t: vl.viewers.point_across(t.model, *t.volumes),
    "embedding map": lambda t: vl.viewers.embedding_map(t.model, t.volumes, crops=20),
    "player": lambda t: vl.viewers.augmentation_player(t.volumes[0], t.config),
    "training theatre": theatre,
}
VIEWS: dict[str, Callable[[Things], Any]] = {
    f"view, {name}": lambda t, name=name: vl.viewers.view(t.volumes[0], backend=name)  # type: ignore[misc]
    for name in ("niivue", "slices", "plotly", "static")
}
ALL = EXPLORERS | VIEWS


def first_picture(name: str, things: Things) -> float:
    """Seconds from the call to the first picture in a fresh process."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_time_first, args=(name, things, there))
    child.start()
    there.close()
    seconds = float(here.recv())
    child.join()
    return seconds


def _time_first(name: str, things: Things, there: Any) -> None:
    begin = time.perf_counter()
    ALL[name](things)
    there.send(time.perf_counter() - begin)


@contextmanager
def counted() -> Iterator[list[int]]:
    """Bytes of each message that widgets send while the block runs, without viewers' scripts."""
    sent: list[int] = []

    def count(_: str, data: Any = None, metadata: Any = None, buffers: Any = None, **__: Any) -> None:
        state = {key: value for key, value in (data or {}).get("state", {}).items() if key not in _SCRIPTS}
        words = json.dumps({**(data or {}), "state": state}, default=str)
        sent.append(len(words) + sum(memoryview(part).nbytes for part in buffers or ()))

    with mock.patch.object(comm.DummyComm, "publish_msg", staticmethod(count)):
        yield sent


def stepping(box: Any, things: Things) -> Callable[[int], None]:
    """Moves an explorer's slider to another value in every round; the theatre draws anew."""
    if isinstance(box, vl.viewers.TrainingTheatre):
        return lambda _: box.redraw(things.model)
    slider = box.sliders[0] if hasattr(box, "sliders") else getattr(box, "level", None) or box.chosen

    def step(round_: int) -> None:
        slider.value = slider.min + (round_ * 7 + 1) % (slider.max - slider.min + 1)

    return step


def print_explorers(things: Things, rounds: int) -> None:
    """From a slider to the picture, and what is sent for it."""
    steps = {name: stepping(make(things), things) for name, make in EXPLORERS.items()}
    times = measure(steps, rounds, warm_up=2)
    unit = float(np.median(times["slices"]))
    for name, step in steps.items():
        with counted() as sent:
            step(rounds + 2)
        median = float(np.median(times[name]))
        print(
            f"{name:30s} slider to PNG, median {median * 1e3:6.1f} ms, goal 50 ms  ratio {median / unit:5.2f}x  "
            f"sends {sum(sent) / 1e3:6.1f} kB"
        )


def print_bytes(things: Things) -> None:
    """What a view sends to appear: of the image, and of labels over it."""
    volume = things.volumes[0]
    voxels = float(np.prod(volume.shape))
    for name in VIEWS:
        backend = name.split(", ")[1]
        image, picture = bytes_sent(backend, volume, None)
        both, _ = bytes_sent(backend, volume, volume.labels)
        print(
            f"{name:30s} sends {image / voxels:6.3f} bytes a voxel of the image, goal 2, {(both - image) / voxels:6.3f} more "
            f"of labels, goal 1, and a picture of {picture / 1e3:.0f} kB"
        )


def bytes_sent(backend: str, volume: vl.Volume, labels: Any) -> tuple[int, int]:
    """Bytes that a view sends beside its still picture, and those of the picture."""
    with counted() as sent:
        shown = vl.viewers.view(volume, labels=labels, backend=backend)
    picture = len(shown.image.value) if hasattr(shown, "image") else 0
    return sum(sent) - picture, picture


def main() -> None:
    """Print three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--voxels", type=int, default=96, help="along each axis")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    things = Things.of_size(arguments.voxels)
    for name in ALL:
        print(f"{name:30s} first picture {first_picture(name, things):6.2f} s, goal 2 s")
    print_explorers(things, arguments.rounds)
    print_bytes(things)


if __name__ == "__main__":
    main()
