"""Does a benchmark of this size tell the truth? Simulated comparisons in which the true difference is known.

The A/A check: two conditions that are the same by construction must be declared different in 5 % of comparisons, and
not in many more. Power: how often a true difference of a given size is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from voco_lite.benchmark.committed import find_results, list_results
from voco_lite.benchmark.intervals import LEVEL, Interval, draw_resamples, plain, student, studentised
from voco_lite.benchmark.running import read_folder

Method = Literal["studentised", "student", "plain"]
Shape = tuple[int, int, int]
_RESAMPLES = 1000
_COLLAPSE = 0.5
# The fewest subjects and seeds that get a verdict, and sizes that a learner may choose.
SHAPES: tuple[Shape, ...] = ((5, 3, 1), (8, 3, 1), (8, 3, 3), (16, 3, 3), (8, 5, 3), (12, 5, 1), (12, 5, 3), (16, 5, 3))


@dataclass(frozen=True)
class Effects:
    """Standard deviations of what makes the scores of one condition vary, in units of the score.

    Attributes:
        subject: How hard a subject is, whatever the condition; it cancels in a paired comparison.
        suits: How well a condition suits a subject.
        pretraining: Luck of a pre-training seed.
        finetuning: Luck of a fine-tuning seed.
        noise: Of each score.
        tails: Degrees of freedom of Student's t from which the effects on subjects are drawn; None: normal.
        collapsing: Share of runs that collapse: they end lower by 0.5 on every subject.
    """

    subject: float = 0.1
    suits: float = 0.02
    pretraining: float = 0.02
    finetuning: float = 0.02
    noise: float = 0.02
    tails: int | None = None
    collapsing: float = 0.0


SITUATIONS: dict[str, Effects] = {
    "all alike": Effects(),
    "subjects decide": Effects(suits=0.05, pretraining=0.0, finetuning=0.0, noise=0.01),
    "seeds decide": Effects(suits=0.0, pretraining=0.05, finetuning=0.0, noise=0.01),
    "fine-tuning decides": Effects(suits=0.005, pretraining=0.0, finetuning=0.05, noise=0.01),
    "subjects, and seeds a little": Effects(suits=0.04, pretraining=0.02, finetuning=0.01, noise=0.01),
    "noise decides": Effects(suits=0.0, pretraining=0.0, finetuning=0.0, noise=0.05),
    "a few subjects stand out": Effects(suits=0.05, pretraining=0.01, finetuning=0.01, noise=0.01, tails=3),
    "a tenth of runs collapse": Effects(collapsing=0.1),
}


def simulate(
    n: int, shape: Shape, effects: Effects, generator: np.random.Generator, difference: float = 0.0
) -> tuple[Float[ndarray, "n subjects pretraining finetuning"], Float[ndarray, "n subjects pretraining finetuning"]]:
    """Scores of two conditions in ``n`` comparisons.

    Args:
        n: Number of comparisons.
        shape: Subjects, pre-training seeds, fine-tuning seeds within each.
        effects: What makes scores vary; both conditions vary alike.
        generator: Source of chance.
        difference: True mean of first minus second.
    """
    subjects, pretraining, _ = shape
    hardness = effects.subject * _draw((n, subjects, 1, 1), effects, generator)

    def condition() -> Float[ndarray, "n subjects pretraining finetuning"]:
        # Drawn only when asked for, so that every other situation keeps its numbers.
        lost = _COLLAPSE * (generator.random((n, 1, *shape[1:])) < effects.collapsing) if effects.collapsing else 0.0
        return (
            hardness
            - lost
            + effects.suits * _draw((n, subjects, 1, 1), effects, generator)
            + effects.pretraining * generator.standard_normal((n, 1, pretraining, 1))
            + effects.finetuning * generator.standard_normal((n, 1, *shape[1:]))
            + effects.noise * generator.standard_normal((n, *shape))
        )

    return condition() + difference, condition()


def found_rate(
    n: int, shape: Shape, effects: Effects, seed: int = 0, difference: float = 0.0, method: Method = "studentised"
) -> float:
    """Share of ``n`` simulated comparisons that declare a difference at 5 %.

    With ``difference=0`` it is the rate of false winners, which must be near 0.05 or below; else it is the power.
    The highest rate among `SITUATIONS` in 2,000 comparisons each (`python -m voco_lite.benchmark.simulation`):

    | subjects x pre-training x fine-tuning seeds | plain | student | studentised |
    |---|---|---|---|
    | 5 x 3 x 1 | 0.247 | 0.067 | 0.045 |
    | 6 x 3 x 1 | 0.244 | 0.059 | 0.045 |
    | 8 x 3 x 1 | 0.249 | 0.065 | 0.053 |
    | 8 x 3 x 3 | 0.241 | 0.070 | 0.060 |
    | 8 x 5 x 3 | 0.167 | 0.057 | 0.056 |
    | 12 x 5 x 1 | 0.169 | 0.051 | 0.045 |
    | 12 x 5 x 2 | 0.164 | 0.058 | 0.056 |
    | 12 x 5 x 3 | 0.163 | 0.061 | 0.054 |
    | 16 x 3 x 3 | 0.255 | 0.067 | 0.059 |
    | 16 x 5 x 3 | 0.147 | 0.050 | 0.045 |
    | 60 x 5 x 3 | 0.170 | 0.064 | 0.059 |

    A tenth of runs that collapse make it careful: at most 3.3 % false winners at these sizes.
    """
    generator = np.random.default_rng(seed)
    first, second = simulate(n, shape, effects, generator, difference)
    resamples = draw_resamples(shape, _RESAMPLES, generator)

    def interval(differences: Float[ndarray, "subjects pretraining finetuning"]) -> Interval:
        if method == "student":
            return student(differences)
        return (plain if method == "plain" else studentised)(differences, resamples)

    return float(np.mean([interval(one).p_value <= 1 - LEVEL for one in first - second]))


def committed_shapes() -> list[Shape]:
    """Sizes of the package's own benchmarks that have verdicts: subjects, pre-training seeds, fine-tuning seeds."""
    shapes = set()
    for name in (name for name, stage in list_results() if stage == "test"):
        protocol, split = read_folder(find_results(name))
        shapes.add((len(split.test), len(protocol.pretraining_seeds), len(protocol.finetuning_seeds)))
    return sorted(shapes)


def power_curve(
    differences: list[float], n: int, shape: Shape, effects: Effects, seed: int = 0, method: Method = "studentised"
) -> list[tuple[float, float]]:
    """How often each true difference is found: (difference, power)."""
    return [(d, found_rate(n, shape, effects, seed, d, method)) for d in differences]


def main() -> None:
    """Print the highest rate of false winners of each method at the benchmark's sizes, and a power curve."""
    print("subjects x pre-training x fine-tuning seeds: plain, Student, studentised")
    for shape in sorted({*SHAPES, *committed_shapes()}):
        for method in ("plain", "student", "studentised"):
            rates = {name: found_rate(2000, shape, e, method=method) for name, e in SITUATIONS.items()}
            worst = max(rates, key=lambda name: rates[name])
            print(shape, method, f"{rates[worst]:.3f} ({worst})", flush=True)
    print("power", power_curve([0.0, 0.01, 0.02, 0.03, 0.04, 0.06], 2000, (12, 5, 3), SITUATIONS["all alike"]))


def _draw(shape: tuple[int, ...], effects: Effects, generator: np.random.Generator) -> Float[ndarray, "..."]:
    """Effects on subjects, of variance 1."""
    if effects.tails is None:
        return generator.standard_normal(shape)
    return generator.standard_t(effects.tails, size=shape) / np.sqrt(effects.tails / (effects.tails - 2))


if __name__ == "__main__":
    main()
