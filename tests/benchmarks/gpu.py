"""Training at published settings on a GPU: samples per second, busy share of the device, peak memory.

    python tests/benchmarks/gpu.py [--presets laptop workshop-gpu tpami25-B tpami25-L tpami25-H] [--steps 20]
                                   [--precision auto] [--table my_steps.json]

Volumes are noise. "busy" is the time in which kernels run, over the time of the steps. `--table` adds what was measured
to a table of the planner. Without CUDA it says so and ends.
"""

from __future__ import annotations

import argparse
import time

import torch
from runs_of_noise import started

from voco_lite import PretrainConfig, planner
from voco_lite.crops import CropGrid

PRESETS = ["laptop", "workshop-gpu", "tpami25-B", "tpami25-L", "tpami25-H"]


def main() -> None:
    """Print a line for each preset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=PRESETS)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--table", default=None)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA here: nothing was measured")
        return
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(f"{'preset':14s}{'precision':>10s}{'s/step':>9s}{'volumes/s':>11s}{'crops/s':>9s}{'busy':>7s}{'peak GB':>9s}")
    for preset in arguments.presets:
        config = PretrainConfig.preset(preset, device="cuda", precision=arguments.precision, progress=False)
        try:
            row, busy = planner.measure(config, preset, arguments.steps), busy_share(config)
        except torch.cuda.OutOfMemoryError:
            print(f"{preset:14s} does not fit into this GPU's memory")
            continue
        finally:
            torch.cuda.empty_cache()
        volumes = config.train.batch_size * config.train.accumulation
        crops = volumes * (config.crops.random_crops + CropGrid.from_config(config.crops).bases)
        print(
            f"{preset:14s}{row.precision:>10s}{row.seconds:9.3f}{volumes / row.seconds:11.2f}{crops / row.seconds:9.1f}"
            f"{busy:7.0%}{row.peak_memory / 1e9:9.2f}"
        )
        if arguments.table:
            planner.add_row(row, arguments.table)


def busy_share(config: PretrainConfig, steps: int = 5) -> float:
    """Time in which kernels run, over the time of a few steps with loading."""
    from torch.profiler import ProfilerActivity, profile

    with started(config) as run:
        for step in range(1, 4):
            run.take_step(step)
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            began = time.perf_counter()
            for step in range(4, 4 + steps):
                run.take_step(step)
            torch.cuda.synchronize()
            seconds = time.perf_counter() - began
    return sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6 / seconds


if __name__ == "__main__":
    main()
