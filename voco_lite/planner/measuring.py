"""Time a few steps on noise, on this machine."""

from __future__ import annotations

import datetime
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from voco_lite.config import PretrainConfig
from voco_lite.crops import CropGrid
from voco_lite.dataset import VoCoDataset
from voco_lite.gauges import measure_held_out
from voco_lite.model import VoCo
from voco_lite.planner.table import MeasuredStep, cost_settings
from voco_lite.train.hardware import choose_device, choose_precision, open_accelerator
from voco_lite.train.run import Run

_WARM_UP, _PARTS, _GAUGE_BATCHES, _ALL_GAUGE_BATCHES = 3, 5, 2, 50


def here(config: PretrainConfig) -> tuple[str, str]:
    """Name of this machine and the precision that it will compute in."""
    device = choose_device(config.train.device)
    return machine_name(device), choose_precision(config.train.precision, device)


def machine_name(device: torch.device) -> str:
    """The GPU, or the processor and the threads that torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"


@dataclass
class _Clock:
    """Times parts of a measurement, device included."""

    device: torch.device

    def time(self, work: Callable[[], object]) -> float:
        """Seconds of one call."""
        self._wait()
        began = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def measure(config: PretrainConfig, preset: str, steps: int = 20) -> MeasuredStep:
    """Train a few steps on noise and time them, with loading, augmentation and optimizer.

    Memory is that of the whole process so far, so that a fresh process measures it best.

    Args:
        config: Settings; nothing is written to its run folder.
        preset: Their name, for the table.
        steps: How many to time, after a few to warm up; at least 5.
    """
    config = config.changed(run_folder=None, progress=False)
    # A run's schedule ends with its steps.
    config = config.changed(steps=max(config.train.steps, steps + _WARM_UP))
    make, size = torch.Generator().manual_seed(0), CropGrid.from_config(config.crops).block_size
    volumes: Any = [
        SimpleNamespace(data=torch.rand(1, *size, generator=make), source=f"noise {i}")
        for i in range(max(4, config.train.batch_size))
    ]
    with open_accelerator(config.train) as accelerator:
        run = Run(accelerator, VoCo(config), VoCoDataset(volumes, config.crops), config)
        clock = _Clock(run.device)
        if run.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(run.device)
        run.begin()
        try:
            parts = _time_steps(run, clock, steps)
            with accelerator.autocast():
                gauge = clock.time(lambda: measure_held_out(run.model, volumes, config.crops, _GAUGE_BATCHES))
        finally:
            run.close()
        precision = "fp32" if accelerator.mixed_precision == "no" else accelerator.mixed_precision
    return MeasuredStep(
        machine=machine_name(run.device),
        preset=preset,
        precision=precision,
        settings=cost_settings(config),
        seconds=round(statistics.median(parts), 4),
        fastest=round(min(parts), 4),
        slowest=round(max(parts), 4),
        gauge_seconds=round(gauge * _ALL_GAUGE_BATCHES / _GAUGE_BATCHES, 2),
        peak_memory=_peak_memory(run.device),
        steps=steps,
        torch=str(torch.__version__),
        date=str(datetime.date.today()),
    )


def _time_steps(run: Run, clock: _Clock, steps: int) -> list[float]:
    """Seconds of a step, one value for each part of the measurement."""

    def take(first: int, count: int) -> None:
        for step in range(first, first + count):
            run.take_step(step)
            run.guard.keep(step)

    take(1, _WARM_UP)
    done, parts = _WARM_UP, []
    for _ in range(_PARTS):
        count = max(1, steps // _PARTS)
        parts.append(clock.time(partial(take, done + 1, count)) / count)
        done += count
    return parts


def _peak_memory(device: torch.device) -> int:
    """Bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    from torch.utils import tensorboard  # noqa: F401  a run that writes its log holds it, too

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
