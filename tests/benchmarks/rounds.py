"""What all benchmarks share: sides that take turns, the machine's name, a table of ratios."""

from __future__ import annotations

import datetime
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch


def measure(sides: Mapping[str, Callable[[int], object]], rounds: int, warm_up: int = 5) -> dict[str, list[float]]:
    """Seconds of every round, the sides in turn, so that a busy moment of the machine meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(-warm_up, rounds):
        for name, side in sides.items():
            begin = time.perf_counter()
            side(round_ + warm_up)
            if round_ >= 0:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def processor() -> str:
    """The CPU's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> str:
    """Where and when a table was measured."""
    return f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {datetime.date.today()}"


def print_table(seconds: dict[str, list[float]], one: str) -> None:
    """Medians with 10 to 90 %, and their ratio to the median of side ``one``."""
    print(machine())
    unit = float(np.median(seconds[one]))
    for name, values in seconds.items():
        low, median, high = np.percentile(values, (10, 50, 90))
        print(
            f"{name:34s} median {median * 1e3:8.2f} ms (10-90 %: {low * 1e3:.2f}-{high * 1e3:.2f})  "
            f"ratio {median / unit:5.2f}x"
        )
