"""Fine-tuning the lesson's segmentation: seconds to its end and its Dice on the way, and of one 96^3 prediction.

    python tests/benchmarks/finetuning.py [--steps 300] [--subjects 8] [--threads 2]

Goals on two cores: five minutes, and two seconds. The encoder is the untrained one of the laptop preset, on warps of the
real CT where it was fetched.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from rounds import machine, measure

from voco_lite import PretrainConfig, samples
from voco_lite.downstream import FinetuneConfig, Split, fit, untrained
from voco_lite.downstream.segmentation import SegmentationConfig, SegmentationTask


def main() -> None:
    """Print the Dice against the seconds, and the time of a prediction."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--subjects", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = PretrainConfig.preset("laptop")
    training = samples.population(arguments.subjects, config.volume)
    validation = samples.population(4, config.volume, first_seed=500)
    task = SegmentationTask(untrained(config, 0), Split(training, validation), SegmentationConfig())
    print(machine())
    every = max(1, arguments.steps // 6)
    settings = FinetuneConfig(
        steps=arguments.steps, batch_size=2, learning_rate=1e-3, gauge_every=every, log_every=every
    )
    for record in fit(task, settings).history.records:
        print(f"step {record['step']:5}  {record['seconds']:7.1f} s  validation Dice {record['validation/score']:.3f}")
    seconds = measure({"prediction": lambda _: task.predict(validation[0])}, rounds=5, warm_up=1)
    print(f"one prediction of {validation[0].shape}: {statistics.median(seconds['prediction']):.2f} s")


if __name__ == "__main__":
    main()
