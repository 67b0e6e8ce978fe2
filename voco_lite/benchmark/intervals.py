"""Intervals for a mean difference that varies over subjects and over seeds.

Differences form a balanced array (subjects, pre-training seeds, fine-tuning seeds): every subject was scored by every
run (crossed), and each fine-tuning seed belongs to one pre-training seed (nested). To say something about other
subjects *and* other seeds, both must count as chance. What fine-tuning seeds add is contained in how much the means of
pre-training seeds differ, and subjects' residual noise is contained in both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import optimize, stats

Differences = Float[ndarray, "subjects pretraining finetuning"]
LEVEL = 0.95
_ROUNDING = 1e-9  # spread below this share of the mean is rounding


@dataclass(frozen=True)
class Interval:
    """A mean difference and how sure it is.

    Attributes:
        difference: Mean over subjects and seeds.
        low, high: Ends of its 95 % interval; of a family, they lie further apart (Bonferroni).
        p_value: Two-sided, of no difference, not corrected for a family.
        standard_error: Of the mean.
        critical: How many standard errors from 0 decide at 5 %, or at its share of 5 % in a family.
        degrees_of_freedom: Of the standard error (Satterthwaite).
    """

    difference: float
    low: float
    high: float
    p_value: float
    standard_error: float
    critical: float
    degrees_of_freedom: float


@dataclass(frozen=True)
class Resamples:
    """Which subjects and seeds each resample holds, as shares: drawn once, used for any number of comparisons.

    Attributes:
        subjects: Share of each subject in each resample.
        seeds: For each resample and each seed drawn, the shares of the fine-tuned runs; drawn pre-training seeds first,
            then as many fine-tuning seeds within each.
    """

    subjects: Float[ndarray, "resamples subjects"]
    seeds: Float[ndarray, "resamples pretraining runs"]


def draw_resamples(shape: tuple[int, int, int], n: int, generator: np.random.Generator) -> Resamples:
    """Draw ``n`` hierarchical resamples of (subjects, pre-training seeds, fine-tuning seeds), with replacement."""
    subjects, pretraining, finetuning = shape
    drawn = generator.integers(pretraining, size=(n, pretraining, 1))
    runs = drawn * finetuning + generator.integers(finetuning, size=(n, pretraining, finetuning))
    shares = (runs[..., None] == np.arange(pretraining * finetuning)).mean(axis=2)
    return Resamples(generator.multinomial(subjects, np.full(subjects, 1 / subjects), size=n) / subjects, shares)


def student(differences: Differences, family: int = 1) -> Interval:
    """Student's t interval with two sources of chance.

    The variance of the mean is that of subject means plus that of seed means; the interaction counts twice, which errs
    on the careful side. Degrees of freedom by Satterthwaite. The test is min F' of Clark (1973, "The
    language-as-fixed-effect fallacy", J. Verbal Learning and Verbal Behavior 12:335). With one pre-training seed it is
    the paired t interval over subjects, and speaks of that seed only.

    Args:
        differences: First minus second.
        family: Number of comparisons that share the 5 % of the interval and of its critical value.

    Raises:
        ValueError: Fewer than two subjects, a family of none, or differences that are all the same and not 0.
    """
    mean, by_subject, by_seed = _parts(differences)
    subjects, pretraining, _ = differences.shape
    error = float(np.sqrt(by_subject + by_seed))
    freedom = float(subjects - 1)
    if by_seed:
        freedom = (by_subject + by_seed) ** 2 / (by_subject**2 / (subjects - 1) + by_seed**2 / (pretraining - 1))
    p_value = 2 * stats.t.sf(abs(mean) / error, freedom) if error else 1.0
    return _interval(mean, error, float(stats.t.isf(_share(family) / 2, freedom)), float(p_value), freedom)


def studentised(differences: Differences, resamples: Resamples, family: int = 1) -> Interval:
    """Hierarchical bootstrap of the t statistic, never narrower than Student's t: the default.

    Each resample's mean is divided by its own standard error, and the quantiles of that ratio take the place of
    Student's. Of both, the larger counts, in the interval as in the p-value: with three seeds Student's t alone found
    up to 7.0 % false winners, the ratio alone up to 6.5 %, both together at most 6.0 % (`found_rate` has the table).
    ``family`` as in `student`.

    Raises:
        ValueError: As `student`.
    """
    base = student(differences, family)
    means, errors = _resampled(differences, resamples)
    apart = np.abs(means - base.difference)
    ratios = np.divide(apart, errors, out=np.full_like(apart, np.inf), where=errors > 0)
    decisive = float(np.quantile(ratios, 1 - _share(family), method="higher"))
    critical = max(decisive, base.critical) if base.standard_error else 0.0
    observed = abs(base.difference) / base.standard_error if base.standard_error else 0.0
    p_value = (1 + np.count_nonzero(ratios >= observed)) / (1 + len(ratios))
    return _interval(
        base.difference, base.standard_error, critical, max(float(p_value), base.p_value), base.degrees_of_freedom
    )


def plain(differences: Differences, resamples: Resamples, family: int = 1) -> Interval:
    """Hierarchical percentile bootstrap, which everybody knows and which is too sure with few subjects or seeds.

    Here for comparison: two methods that are alike then differ "significantly" in up to a quarter of all comparisons
    (`found_rate` has the table). ``family`` as in `student`.
    """
    base = student(differences)
    means, _ = _resampled(differences, resamples)
    outside = _share(family)
    low, high = (float(end) for end in np.quantile(means, [outside / 2, 1 - outside / 2]))
    tail = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    p_value = min(1.0, 2 * (1 + tail) / (1 + len(means)))
    spread = float(means.std())
    critical = (high - low) / 2 / spread if spread else 0.0
    return Interval(base.difference, low, high, p_value, spread, critical, base.degrees_of_freedom)


def detectable(interval: Interval, power: float = 0.8) -> float:
    """The smallest true difference that such a comparison would find with this power; inf: it would find none.

    From the noncentral t distribution, with the interval's own standard error, degrees of freedom and critical value.
    For a verdict among m comparisons, give an interval of that family: its critical value is that of 5 % / m, the worst
    case of `holm`, in which no other comparison is decided before this one. It is no border: of true differences that are
    a quarter smaller, about half are found. And it is an estimate, as the standard error is: of 400 simulated benchmarks
    with three pre-training seeds, half told 0.6 to 1.7 times the middle value, at which 61 % were found; with five seeds
    0.7 to 1.4 times and 64 to 67 % (eight comparisons; 6 to 60 subjects).
    """
    if not interval.standard_error:
        return 0.0
    if math.isinf(interval.critical):
        return math.inf

    def surplus(shift: float) -> float:
        return float(stats.nct.sf(interval.critical, interval.degrees_of_freedom, shift)) - power

    shift = optimize.brentq(surplus, 0.0, 10 * interval.critical + 10)
    return float(shift) * interval.standard_error


def holm(p_values: Float[ndarray, " comparisons"]) -> Float[ndarray, " comparisons"]:
    """p-values corrected for the number of comparisons in a family (Holm 1979, step down)."""
    order = np.argsort(p_values)
    left = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * left), 1)
    return corrected


def effect_size(differences: Differences) -> float:
    """Hedges' g of paired differences: the mean in standard deviations over subjects, corrected for their number.

    Seeds are averaged first. Source: Lakens (2013, Frontiers in Psychology 4:863), d_z with Hedges' correction.
    """
    by_subject = differences.mean(axis=(1, 2))
    mean, spread = by_subject.mean(), by_subject.std(ddof=1)
    if not spread:
        return float(np.sign(mean) * np.inf) if mean else 0.0
    return float(mean / spread * (1 - 3 / (4 * (len(by_subject) - 1) - 1)))


def _parts(differences: Differences) -> tuple[float, float, float]:
    """The mean, and the parts of its variance that come from subjects and from seeds."""
    subjects, pretraining, _ = differences.shape
    if subjects < 2:
        raise ValueError(f"An interval needs at least 2 subjects, got {subjects}. Score more subjects.")
    mean = float(differences.mean())
    by_subject = float(differences.mean(axis=(1, 2)).var(ddof=1)) / subjects
    by_seed = float(differences.mean(axis=(0, 2)).var(ddof=1)) / pretraining if pretraining > 1 else 0.0
    if by_subject + by_seed <= (_ROUNDING * mean) ** 2 and mean:
        raise ValueError(
            f"Differences must vary over subjects or seeds, got {mean:g} everywhere. These are no separate "
            "measurements: look how the scores were made."
        )
    return mean, by_subject, by_seed


def _resampled(
    differences: Differences, resamples: Resamples
) -> tuple[Float[ndarray, " resamples"], Float[ndarray, " resamples"]]:
    """Mean of each resample, and its standard error by the same rule as the sample's."""
    subjects, pretraining, _ = differences.shape
    runs = differences.reshape(subjects, -1)
    by_subject = resamples.seeds.mean(axis=1) @ runs.T
    by_seed = np.einsum("bpr,br->bp", resamples.seeds, resamples.subjects @ runs)
    means = by_seed.mean(axis=1)
    variance = (resamples.subjects * (by_subject - means[:, None]) ** 2).sum(axis=1) / (subjects - 1)
    if pretraining > 1:
        variance += by_seed.var(axis=1, ddof=1) / pretraining
    return means, np.sqrt(variance)


def _share(family: int) -> float:
    """How often an interval may miss the truth, where that many miss it in 5 % at most."""
    if family < 1:
        raise ValueError(f"family must be at least 1 comparison, got {family}. Count those that are decided together.")
    return (1 - LEVEL) / family


def _interval(mean: float, error: float, critical: float, p_value: float, freedom: float) -> Interval:
    half = critical * error
    return Interval(mean, mean - half, mean + half, p_value, error, critical, freedom)
