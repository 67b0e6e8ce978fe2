"""Answers as learners write them, with NumPy and with PyTorch: the right ones pass, the wrong ones get a kind word."""

import statistics
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from voco_lite import checks
from voco_lite.checks.grading import Exercise, check


def nearest_with_numpy(similarity, fits, k):
    best = np.argsort(-similarity, axis=1)[:, :k]
    return np.take_along_axis(fits, best, axis=1).any(axis=1).mean()


def nearest_with_torch(similarity, fits, k):
    return fits.gather(1, similarity.topk(k, dim=1).indices).any(1)


def holm_in_place(p):
    order = np.argsort(p)
    corrected = np.zeros(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]))
    return corrected


RIGHT = [
    ("always_the_most_frequent", lambda learnt, asked: (asked == Counter(learnt).most_common(1)[0][0]).mean()),
    ("always_the_most_frequent", lambda learnt, asked: np.mean(asked == stats.mode(learnt).mode)),
    ("always_the_most_frequent", lambda learnt, asked: list(asked).count(statistics.mode(learnt)) / len(asked)),
    ("area_under_the_curve", lambda s, y: np.mean([(a > b) + 0.5 * (a == b) for a in s[y] for b in s[~y]])),
    ("paired_t", lambda d: np.mean(d) / (np.std(d, ddof=1) / np.sqrt(len(d)))),
    ("paired_t", lambda d: d.mean() / (d.std(ddof=1) / len(d) ** 0.5)),
    ("paired_t", lambda d: statistics.mean(d) / (statistics.stdev(d) / len(d) ** 0.5)),
    ("step_down", holm_in_place),
    ("folding", lambda d: np.mean(d <= 0)),
    ("folding", lambda d: (d <= 0).mean()),
    ("folding", lambda d: (d <= 0).float().mean()),
    ("folding", lambda d: (d <= 0).sum() / d.numel()),
    ("recall", nearest_with_numpy),
    ("recall", lambda s, f, k: nearest_with_torch(s, f, k).float().mean()),
    ("target_error", lambda p, u, q, mm: np.linalg.norm((p + u - q) * mm, axis=1).mean()),
    ("dice_of_an_organ", lambda p, t: 2 * np.sum(p & t) / (np.sum(p) + np.sum(t))),
    ("spread_targets", lambda fits: fits / fits.sum(axis=1, keepdims=True)),
]
WRONG = [
    ("always_the_most_frequent", lambda learnt, asked: (asked == learnt[0]).mean(), "it returns 0.625, expected 0.25"),
    ("always_the_most_frequent", lambda learnt, asked: (asked == np.median(learnt)).mean(), "0.5, expected 0.3333"),
    (
        "always_the_most_frequent",
        lambda learnt, asked: np.bincount(asked).max() / len(asked),
        "from the training subjects",
    ),
    ("paired_t", lambda d: np.mean(d) / (np.std(d) / np.sqrt(len(d))), "ddof=1"),
    ("paired_t", lambda d: np.mean(d) / np.std(d), "ddof=1"),
    ("folding", lambda d: np.mean(d < 0), "0 counts too"),
    ("recall", lambda s, f, k: nearest_with_torch(s, f, k).mean(), "write `.double()` before `.mean()`"),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_a_right_answer_passes_in_the_words_of_either_library(name, answer, capsys):
    getattr(checks, name)(answer)
    assert capsys.readouterr().out.startswith("✓")


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_a_wrong_answer_gets_the_hint_that_fits(name, answer, hint, capsys):
    getattr(checks, name)(answer)
    said = capsys.readouterr().out.split(" (line ")[0]  # a line of this file, which may hold the hint
    assert said.startswith("✗") and hint in said


def total(values, **more):
    """An exercise that asks for a sum; ``values`` makes its input."""
    return Exercise("Sum", lambda x: x.sum(), lambda: [(values(),)], (), "well done.", **more)


def test_an_array_that_is_changed_is_noticed(capsys):
    def in_place(values):
        values += 1
        return values.sum() - len(values)

    check(total(lambda: np.arange(3.0)), in_place)
    assert "changes its input" in capsys.readouterr().out


def test_what_an_answer_raises_on_tensors_is_told_when_arrays_do_not_help_either(capsys):
    check(total(lambda: torch.arange(3.0)), lambda x: x.add(0).no_such_thing)
    assert "'Tensor' object has no attribute 'no_such_thing'" in capsys.readouterr().out


def test_an_exercise_that_looks_at_gradients_gives_no_arrays(capsys):
    check(total(lambda: torch.arange(3.0), inspect=lambda *_: None), lambda x: np.add.reduce(x.astype(float)))
    assert "'Tensor' object has no attribute 'astype'" in capsys.readouterr().out
