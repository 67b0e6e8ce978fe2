"""A fine-tuning in progress: pre-training's run, with layer-wise rates and with the best weights kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from voco_lite.config.plain import plain
from voco_lite.downstream.config import FinetuneConfig
from voco_lite.downstream.rates import learning_groups
from voco_lite.downstream.split import sources
from voco_lite.downstream.task import Batch, Draws, Task, TaskLosses
from voco_lite.train.resume import describe_data
from voco_lite.train.run import Run

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Finetuning:
    """A fine-tuning, whole, as checkpoints store it."""

    task: dict[str, Any]
    train: FinetuneConfig

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings."""
        return {"task": self.task, "train": plain(asdict(self.train))}


class _Stepper(nn.Module):
    """What accelerate wraps in autocast and in DDP: a task's losses as a call."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.network, self.task = task.network, task

    def forward(self, examples: Mapping[str, Tensor]) -> TaskLosses:
        terms = self.task.losses(examples)
        return TaskLosses(sum(terms.values(), start=next(iter(terms.values())).new_zeros(())), terms)


class FinetuneRun(Run):
    """A task's network, its optimizer, and the best weights so far.

    Attributes:
        best: "step", mean "score", "scores" by subject, "weights" (dropped once they are the network's own), and
            "waited": looks at the validation subjects since; empty before the first.
    """

    config: FinetuneConfig

    def __init__(self, accelerator: Accelerator, task: Task, config: FinetuneConfig) -> None:
        self.task, self.best = task, dict[str, Any]()
        draws = Draws(task, config.seed, config.batch_size)
        super().__init__(accelerator, task.network, draws, Finetuning(task.describe(), config))
        validation = describe_data(sources(task.split.validation), config.seed)
        self.provenance |= {
            "validation": {"every": config.gauge_every, **{n: validation[n] for n in ("volumes", "digest")}}
        }

    def wrapped(self) -> nn.Module:
        """The task's losses as a call."""
        return _Stepper(self.task)

    def losses(self, batch: Batch, first: bool) -> TaskLosses:
        """The losses of a micro-batch."""
        return self.stepper(batch.examples)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The head at the full rate, the encoder's stages at their shares."""
        return learning_groups(self.task.network, self.config)

    def note(self, scores: dict[str, float]) -> float:
        """Keep these weights where the mean validation score is the highest so far; returns that mean.

        Raises:
            ValueError: No subject has a score.
        """
        known = [score for score in scores.values() if not np.isnan(score)]
        if not known:
            raise ValueError(
                f"A validation subject must have a score, got none of {', '.join(scores)}. "
                "Validate with subjects that show what is learnt."
            )
        score = float(np.mean(known))
        if self.best and not score > self.best["score"]:
            self.best["waited"] += 1
            return score
        weights = {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}
        self.best = {"step": self.step, "score": score, "scores": scores, "weights": weights, "waited": 0}
        return score

    def state(self) -> dict[str, Any]:
        """The best so far."""
        return {"best": self.best}

    def restore_state(self, entries: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.best = entries["best"]

    def finish(self) -> None:
        """Take the best weights back, those of the first process everywhere, and store them."""
        from accelerate.utils import broadcast

        if self.best:
            self.guard.flush()
            self.model.load_state_dict(self.best.pop("weights"))
            # Running statistics of batches differ between processes: the first one's were scored.
            broadcast(dict(self.model.state_dict()))
        super().finish()
