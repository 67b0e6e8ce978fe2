"""The `ci` protocol from end to end, and one dense probe of the laptop encoder.

    python tests/benchmarks/benchmark.py [--threads 2] [--probe-only]

Goals on two cores: three minutes, and three seconds. The probe learns from two warps of the real CT, where it was
fetched, and scores three others.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import torch
from rounds import machine, measure

from voco_lite import PretrainConfig, benchmark, samples
from voco_lite.benchmark.protocol import find_protocol
from voco_lite.benchmark.runners import open_runner
from voco_lite.downstream import untrained
from voco_lite.downstream.dense_probe import DenseProbe


def main() -> None:
    """Print both times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--probe-only", action="store_true", help="leave out the protocol, which takes minutes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(machine())
    config = PretrainConfig.preset("laptop")
    probe = DenseProbe(samples.population(2, config.volume), samples.population(3, config.volume, first_seed=500))
    encoder = untrained(config, 0).encoder
    seconds = measure({"probe": lambda _: probe.measure(encoder)}, rounds=5, warm_up=1)
    print(f"a dense probe of 2 and 3 subjects of 96^3: {statistics.median(seconds['probe']):.2f} s")
    if arguments.probe_only:
        return
    protocol = benchmark.read_protocol(find_protocol("ci"))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        runner = open_runner(protocol, folder)
        result = benchmark.run_benchmark(protocol, list(runner.subjects), runner, folder, stage="test", progress=True)
    print(f"the ci protocol, {len(result.comparisons)} comparisons: {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
