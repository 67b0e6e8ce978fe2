"""Cost of a step against the crops that it sees: more random crops for each volume, and more volumes.

    python tests/benchmarks/crops.py [--preset ci] [--rounds 9] [--threads 2]

A line through the medians says what one crop costs; "off the line" is the largest distance of a median from it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import torch
from rounds import machine, measure
from runs_of_noise import started

from voco_lite import PretrainConfig
from voco_lite.dataset import VoCoBatch
from voco_lite.model import all_crops
from voco_lite.train.run import Run

RANDOM_CROPS, BATCHES = (2, 4, 8, 16, 32), (2, 4, 8, 16)


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="ci")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.preset}, {machine()}")
    for name, counts in (("random_crops", RANDOM_CROPS), ("batch_size", BATCHES)):
        configs = [PretrainConfig.preset(arguments.preset, progress=False, **{name: count}) for count in counts]
        _print(name, counts, *_measured(configs, arguments.rounds))


def _measured(configs: list[PretrainConfig], rounds: int) -> tuple[list[int], list[float]]:
    """Crops of a step, and its median seconds, for each configuration; they take turns."""
    crops, sides = [], {}
    with ExitStack() as stack:
        for number, config in enumerate(configs):
            run = stack.enter_context(started(config))
            batch = run.dataset.batch(range(run.config.batch_size), run.device)
            crops.append(len(all_crops(batch)))
            sides[str(number)] = _stepping(run, batch)
        seconds = measure(sides, rounds, warm_up=2)
    return crops, [float(np.median(values)) for values in seconds.values()]


def _stepping(run: Run, batch: VoCoBatch) -> Callable[[int], object]:
    """Steps on one batch: loading is measured elsewhere."""

    def step(round_: int) -> None:
        run.micro_batches = (pair for pair in [(0, batch)])
        run.take_step(round_ + 1)

    return step


def _print(name: str, counts: tuple[int, ...], crops: list[int], seconds: list[float]) -> None:
    slope, start = np.polyfit(crops, seconds, 1)
    line = slope * np.array(crops) + start
    for count, total, value in zip(counts, crops, seconds, strict=True):
        print(f"{name:13s}{count:4d} {total:5d} crops {value * 1e3:9.1f} ms  {value / total * 1e3:7.3f} ms a crop")
    off = float(np.abs(np.array(seconds) - line).max() / max(seconds))
    print(f"{'line':13s} {start * 1e3:.1f} ms + {slope * 1e3:.3f} ms a crop; off the line {off:.0%} of the largest\n")


if __name__ == "__main__":
    main()
