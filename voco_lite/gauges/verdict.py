"""One sentence about a run: is it learning, and if not, what is wrong?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from voco_lite.gauges.held_out import HeldOut
from voco_lite.gauges.levels import Levels

COLLAPSED_SPREAD = 0.05
GAIN = 0.05  # of top-1 over the untrained network; smaller ones happen by chance
NEAR_ORTHOGONAL = 0.95
# Shares of the loss of the best constant similarity, which any run reaches that moves at all.
NEAR_CONSTANT, BETTER_THAN_CONSTANT = 0.75, 0.85
WORSE_THAN_CONSTANT = 1.2
TOWARD_COLLAPSE = 0.1  # way from the orthogonal level to that of collapse: only wrong similarities near 1 cost so much
MOVED_SPREAD = 0.8  # the regularization, which needs no labels, spreads the embeddings of a run that moves at all


@dataclass(frozen=True)
class Verdict:
    """What the held-out gauges say of a run.

    Attributes:
        kind: In one word.
        sentence: For people.
    """

    kind: Literal["learning", "plateau", "collapsed", "disagree", "unclear"]
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def verdict(first: HeldOut, last: HeldOut, levels: Levels) -> Verdict:
    """Judge a run by its held-out gauges before training and now.

    Args:
        first: Before training (`history.first_held_out`).
        last: Now (`history.last_held_out`).
        levels: Of the run's grid and objective.
    """
    gain = last.top1 - first.top1
    numbers = f"intra loss {last.intra_loss:.2f}, top-1 {last.top1:.2f} against {first.top1:.2f} untrained"
    alike = levels.orthogonal + TOWARD_COLLAPSE * (levels.collapse - levels.orthogonal)
    if last.spread < COLLAPSED_SPREAD or last.intra_loss > alike:
        return Verdict(
            "collapsed",
            f"collapsed: crops of different places have nearly one embedding (spread {last.spread:.3f}); {numbers}. "
            "Look at the regularization and at the learning rate.",
        )
    if gain > GAIN and last.intra_loss < BETTER_THAN_CONSTANT * levels.best_constant:
        return Verdict("learning", f"learning: positions are told apart better than before training; {numbers}.")
    if last.intra_loss >= NEAR_ORTHOGONAL * levels.orthogonal:
        return Verdict(
            "plateau",
            f"stuck at the orthogonal plateau: no better than all similarities 0 ({levels.orthogonal:.2f}); {numbers}. "
            "Raise the learning rate, train longer, or change the encoder's norm.",
        )
    share = last.intra_loss / levels.best_constant
    if share > WORSE_THAN_CONSTANT or (share >= NEAR_CONSTANT and last.spread < MOVED_SPREAD):
        return Verdict(
            "plateau",
            f"hardly moving: no better than one constant similarity ({levels.best_constant:.2f}), and embeddings are still "
            f"alike (spread {last.spread:.2f}); {numbers}. Raise the learning rate, or train longer.",
        )
    if share >= (NEAR_CONSTANT if gain <= GAIN else BETTER_THAN_CONSTANT):
        return Verdict(
            "disagree",
            f"labels and crops disagree: the loss went to that of one constant similarity ({levels.best_constant:.2f}), "
            f"but crops are hardly found; {numbers}. Check that labels belong to their crops, or train longer.",
        )
    return Verdict("unclear", f"unclear: {numbers}. Train longer, or measure more held-out volumes.")
