"""`fit`: the one loop that fine-tunes for every task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from voco_lite.downstream.config import FinetuneConfig
from voco_lite.downstream.run import FinetuneRun
from voco_lite.downstream.split import sources
from voco_lite.downstream.task import Task
from voco_lite.train.hardware import open_accelerator
from voco_lite.train.history import History
from voco_lite.train.loop import train
from voco_lite.train.run import Callback

SCORE = "validation/score"


@dataclass
class Fitted:
    """What came of a fine-tuning.

    Attributes:
        history: Terms of the loss, and "validation/score", the mean over the validation subjects.
        best_step: Optimizer steps after which the network was best; it holds the weights of that moment.
        score: Mean validation score of then; None without validation subjects.
        scores: By validation subject.
    """

    history: History
    best_step: int
    score: float | None = None
    scores: dict[str, float] = field(default_factory=dict)


def fit(task: Task, config: FinetuneConfig, callbacks: Sequence[Callback] = ()) -> Fitted:
    """Fine-tune a task's network, in place; it ends with the weights that were best on the validation subjects.

    Loop, log, guard, precision, processes and exact resumption are those of `pretrain`; the run folder holds the same
    files. Test subjects are not looked at.

    Args:
        task: What is learnt, by which network, from whom.
        config: How.
        callbacks: Called with each record and the network, in the first process.

    Raises:
        NonFiniteLossError: A loss or gradient was not finite; the network holds the state before that step.
        ValueError: The run folder holds another run, or a linear probe is asked for under a head that is not linear.
    """
    if config.mode == "linear-probe" and not task.network.linear:
        raise ValueError(
            'mode "linear-probe" needs a head that is linear in the features, got '
            f'{type(task.network).__name__}. Build a linear head, or use mode="frozen".'
        )
    task.network.freeze(config.mode != "full")
    with open_accelerator(config) as accelerator:
        run = FinetuneRun(accelerator, task, config)
        if not run.begin():
            train(run, _Validation(run), callbacks, name="fine-tuning")
    best = run.best
    if not best:
        return Fitted(run.history, run.step)
    return Fitted(run.history, best["step"], best["score"], best["scores"])


class _Validation:
    """Looks at the validation subjects while a run trains."""

    wanted = False  # what an untrained head scores says nothing

    def __init__(self, run: FinetuneRun) -> None:
        self.run, self.subjects = run, run.task.split.validation

    @property
    def satisfied(self) -> bool:
        patience = self.run.config.patience
        return bool(patience and self.run.best and self.run.best["waited"] >= patience)

    def due(self, step: int) -> bool:
        every = self.run.config.gauge_every
        return len(self.subjects) > 0 and (step == self.run.config.steps or (every > 0 and step % every == 0))

    def measure(self) -> dict[str, float]:
        """Score by the first process; every process keeps count."""
        from accelerate.utils import broadcast_object_list

        found: list[dict[str, float]] = [{}]
        self.run.guard.flush()
        if self.run.accelerator.is_main_process:
            with self.run.accelerator.autocast():
                found = [score_subjects(self.run.task, self.subjects)]
            self.run.model.train()
        scores = broadcast_object_list(found)[0]
        return {SCORE: self.run.note(scores)}


@torch.no_grad()
def score_subjects(task: Task, subjects: Sequence[object]) -> dict[str, float]:
    """Each subject's score by its source, with the network in evaluation mode."""
    task.network.eval()
    return dict(zip(sources(subjects), task.scores(subjects), strict=True))
