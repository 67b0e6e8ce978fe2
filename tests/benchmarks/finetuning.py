"""Fine-tuning the lesson's segmentation: seconds to its end and its Dice on the way, and of one 96^3 prediction.

    python tests/benchmarks/finetuning.py [--steps 200] [--subjects 8] [--threads 2]

Goals on two cores: five minutes, and two seconds. Everything is as `finetune segmentation` and notebook 07 have it; the
encoder is the untrained one of the laptop preset, on warps of the real CT where it was fetched.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace

import torch
from rounds import machine, measure

from voco_lite import PretrainConfig, samples
from voco_lite.cli.finetuning import recipe
from voco_lite.cli.learning import ORGANS
from voco_lite.downstream import Split, fit, untrained
from voco_lite.downstream.segmentation import SegmentationConfig, SegmentationTask


def main() -> None:
    """Print the Dice against the seconds, and the time of a prediction."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    lesson = recipe("segmentation")
    parser.add_argument("--steps", type=int, default=lesson.train.steps)
    parser.add_argument("--subjects", type=int, default=lesson.subjects)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = PretrainConfig.preset("laptop")
    training = samples.population(arguments.subjects, config.volume)
    validation = samples.population(lesson.validation, config.volume, first_seed=500)
    cut = SegmentationConfig(ORGANS, lesson.patch_size, foreground_share=0.9, by_organ=lesson.by_organ)
    task = SegmentationTask(untrained(config, 0), Split(training, validation), cut)
    print(machine())
    every = max(1, arguments.steps // 4)
    settings = replace(lesson.train, steps=arguments.steps, gauge_every=every, log_every=every, checkpoint_every=0)
    for record in fit(task, settings).history.records:
        print(f"step {record['step']:5}  {record['seconds']:7.1f} s  validation Dice {record['validation/score']:.3f}")
    seconds = measure({"prediction": lambda _: task.predict(validation[0])}, rounds=5, warm_up=1)
    print(f"one prediction of {validation[0].shape}: {statistics.median(seconds['prediction']):.2f} s")


if __name__ == "__main__":
    main()
