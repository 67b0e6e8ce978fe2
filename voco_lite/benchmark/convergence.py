"""How fast a fine-tuning learns: its validation scores against steps, condensed into two numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voco_lite.downstream.fit import SCORE
from voco_lite.train.history import History


@dataclass(frozen=True)
class Curve:
    """Validation scores of one run; between two looks at the subjects it is a straight line.

    Attributes:
        steps: Optimizer steps completed at each look, rising.
        scores: Mean score of the validation subjects then, such as Dice.

    Raises:
        ValueError: Fewer than two looks, lengths that differ, steps that do not rise, or a score that is not finite.
    """

    steps: tuple[int, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.scores) or len(self.steps) < 2:
            raise ValueError(
                f"A curve must have two or more steps and as many scores, got {len(self.steps)} steps and "
                f"{len(self.scores)} scores. Look at the validation subjects more often (`gauge_every`)."
            )
        if np.any(np.diff(self.steps) <= 0) or not np.all(np.isfinite(self.scores)):
            raise ValueError(
                f"A curve's steps must rise and its scores be finite, got {self.steps} and {self.scores}. "
                "Run that cell anew."
            )

    @classmethod
    def load(cls, run_folder: str | Path) -> Curve | None:
        """The curve of a fine-tuning on disk, from its `log.jsonl`; None of a run that was looked at fewer than twice.

        Raises:
            FileNotFoundError: The folder has no log.
            ValueError: The log is damaged.
        """
        records = [record for record in History.load(run_folder).records if SCORE in record]
        if len(records) < 2:
            return None
        return cls(tuple(int(r["step"]) for r in records), tuple(float(r[SCORE]) for r in records))

    @property
    def mean_height(self) -> float:
        """Area under the curve (trapezoids) over the steps it spans, in units of the score.

        Compare only curves that span the same steps.
        """
        area = np.trapezoid(self.scores, self.steps)
        return float(area / (self.steps[-1] - self.steps[0]))

    def steps_to(self, target: float) -> float | None:
        """Steps until the score first reaches a target; None: it never does.

        A run that is there at its first look gets the step of that look, which may be too many.
        """
        reached = np.flatnonzero(np.asarray(self.scores) >= target)
        if not len(reached):
            return None
        at = int(reached[0])
        if at == 0:
            return float(self.steps[0])
        return float(np.interp(target, self.scores[at - 1 : at + 1], self.steps[at - 1 : at + 1]))


def steps_to_share(curve: Curve, scratch: Curve, share: float = 0.9) -> float | None:
    """Steps until a run reaches a share of the score at which training from scratch ends; None: it never does.

    Raises:
        ValueError: `share` is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}. Use 0.9 for 90 %.")
    return curve.steps_to(share * scratch.scores[-1])
