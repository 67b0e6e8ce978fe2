"""`pretrain`: the one loop that trains every objective, on a laptop's CPU and on GPUs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from voco_lite.config import TrainConfig
from voco_lite.train.guard import NonFiniteLossError
from voco_lite.train.hardware import open_accelerator
from voco_lite.train.history import HELD_OUT, History
from voco_lite.train.leaving_out import usable
from voco_lite.train.records import progress_bar
from voco_lite.train.run import Callback, Run

if TYPE_CHECKING:
    from voco_lite.dataset import VoCoDataset
    from voco_lite.model import VoCo
    from voco_lite.volumes import Volume


def pretrain(
    model: VoCo,
    dataset: VoCoDataset,
    config: TrainConfig | None = None,
    held_out: Sequence[Volume] | None = None,
    callbacks: Sequence[Callback] = (),
) -> History:
    """Train a model, in place, and return what was recorded.

    The same call continues an interrupted run of its `run_folder` exactly, and returns the history of a finished one
    with its final weights in `model`. Every chance comes from the seed and the number of the step, except where
    `crops.seeded` is False (official mode), whose augmentation no seed reaches. A run folder holds
    `config.json`, `log.jsonl`, `tensorboard/`, `checkpoints/` (the newest two) and `final.pt`. A volume of a folder
    that cannot be read is left out: a warning names it, `History.left_out` and `left_out.json` list them all.

    Args:
        model: Moved to the device; left there in evaluation mode.
        dataset: The training volumes with their crops.
        config: How to train; None: `model.config.train`.
        held_out: Volumes for the held-out gauges, measured before, while and after training; None: no gauges.
        callbacks: Called with each record and the model, in the first process.

    Raises:
        NonFiniteLossError: A loss or gradient was not finite; the model holds the state before that step, and the run
            folder a checkpoint of it.
        ValueError: The run folder holds a run with other settings, or there are fewer volumes than a batch needs.
    """
    config = config or model.config.train
    whole = dataclasses.replace(model.config, crops=dataset.crops, train=config)
    with open_accelerator(config) as accelerator:
        run = Run(accelerator, model, dataset, whole)
        if run.begin():
            return run.history
        train(run, _Gauge(run, held_out), callbacks)
    return run.history


class Gauge(Protocol):
    """What is measured beside the training."""

    @property
    def wanted(self) -> bool:
        """Whether to measure before the first step, too."""

    @property
    def satisfied(self) -> bool:
        """Whether the run shall end now, before its last step."""

    def due(self, step: int) -> bool:
        """Whether to measure after this step."""

    def measure(self) -> dict[str, float]:
        """Entries of the record."""


def train(run: Run, gauge: Gauge, callbacks: Sequence[Callback], name: str = "pre-training") -> None:
    """The one loop: steps, records, checkpoints, until the last step or until the gauge is satisfied.

    Args:
        run: Begun, and not finished.
        gauge: Measures at its own times.
        callbacks: Called with each record and the model.
        name: Of the progress bar.

    Raises:
        NonFiniteLossError: The run holds the state before the bad step, and has stored it.
    """
    config = run.config
    try:
        with progress_bar(config.steps, run.step, config.progress and run.accelerator.is_main_process, name) as bar:
            if run.step == 0 and gauge.wanted:
                run.record(gauge.measure(), callbacks)
            for step in range(run.step + 1, config.steps + 1):
                if gauge.satisfied:
                    break
                run.take_step(step)
                gauged = gauge.due(step)
                if gauged or step % config.log_every == 0 or step == config.steps:
                    record = run.record(gauge.measure() if gauged else {}, callbacks)
                    bar.set_postfix(loss=f"{record['total']:.3f}", refresh=False)
                if config.checkpoint_every and step % config.checkpoint_every == 0:
                    run.save()
                run.guard.keep(step)
                bar.update()
            run.finish()
    except NonFiniteLossError as error:
        run.stop_at(error)
        raise
    finally:
        run.close()


class _Gauge:
    """The held-out gauges of a run."""

    satisfied = False

    def __init__(self, run: Run, held_out: Sequence[Volume] | None) -> None:
        self.run, self.config = run, run.config
        self.held_out: Sequence[Volume] = () if held_out is None else held_out
        self.checked = False

    @property
    def wanted(self) -> bool:
        return len(self.held_out) > 0

    def due(self, step: int) -> bool:
        every = self.config.gauge_every
        return self.wanted and (step == self.config.steps or (every > 0 and step % every == 0))

    def measure(self) -> dict[str, float]:
        """The gauges as record entries; measured by the first process."""
        from voco_lite.gauges import measure_held_out

        found: dict[str, float] = {}
        self.run.guard.flush()
        if self.run.accelerator.is_main_process:
            if not self.checked:
                self.held_out, self.checked = usable(self.held_out, self.run.left_out), True
            with self.run.accelerator.autocast():
                measured = measure_held_out(self.run.model, self.held_out, self.run.dataset.crops)
            found = {
                HELD_OUT + name: value for name, value in dataclasses.asdict(measured).items() if value is not None
            }
            self.run.model.train()
        self.run.accelerator.wait_for_everyone()
        return found
