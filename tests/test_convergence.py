"""Convergence measures, against curves whose area and crossings are known in closed form."""

import json

import numpy as np
import pytest

from voco_lite.benchmark.convergence import Curve, steps_to_share


def line(slope=0.01, steps=(10, 20, 50, 100)):
    return Curve(steps, tuple(slope * step for step in steps))


def test_a_straight_line_is_as_high_as_its_middle():
    assert line().mean_height == pytest.approx(0.01 * (10 + 100) / 2)


def test_a_parabola_comes_near_to_its_integral():
    steps = tuple(range(101))
    curve = Curve(steps, tuple((step / 100) ** 2 for step in steps))
    assert curve.mean_height == pytest.approx(1 / 3, abs=1e-4)


def test_the_height_does_not_depend_on_the_length_of_a_step():
    slow = Curve((20, 40, 100, 200), line().scores)
    assert slow.mean_height == pytest.approx(line().mean_height)


def test_a_saturating_run_reaches_its_target_when_the_formula_says_so():
    steps = tuple(range(1, 401))
    curve = Curve(steps, tuple(float(1 - np.exp(-step / 50)) for step in steps))
    assert curve.steps_to(0.9) == pytest.approx(50 * np.log(10), abs=0.05)


@pytest.mark.parametrize(("target", "steps"), [(0.1, 10), (0.2, 20), (0.35, 35), (1.0, 100), (0.05, 10)])
def test_between_two_looks_the_run_is_a_straight_line(target, steps):
    assert line().steps_to(target) == pytest.approx(steps)


def test_a_target_that_is_never_reached_has_no_steps():
    assert line().steps_to(1.01) is None


def test_the_first_crossing_counts_even_if_the_score_falls_again():
    assert Curve((10, 20, 30, 40), (0.0, 0.8, 0.2, 0.9)).steps_to(0.4) == pytest.approx(15)


def test_the_target_is_a_share_of_where_scratch_ends_not_of_its_best():
    scratch = Curve((10, 20, 30), (0.2, 0.9, 0.5))
    assert steps_to_share(line(), scratch) == pytest.approx(45)
    assert steps_to_share(line(), scratch, share=0.5) == pytest.approx(25)


def test_a_curve_is_read_from_the_log(tmp_path):
    records = [{"step": 0, "loss": 3.0}, {"step": 5, "validation/score": 0.25}, {"step": 7, "loss": 1.0},
               {"step": 10, "validation/score": 0.5}]  # fmt: skip
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert Curve.load(tmp_path) == Curve((5, 10), (0.25, 0.5))


def test_a_run_that_was_looked_at_once_has_no_curve(tmp_path):
    (tmp_path / "log.jsonl").write_text(json.dumps({"step": 5, "validation/score": 0.25}) + "\n")
    assert Curve.load(tmp_path) is None


@pytest.mark.parametrize(
    ("steps", "scores"),
    [((1,), (0.1,)), ((1, 2), (0.1,)), ((2, 1), (0.1, 0.2)), ((1, 1), (0.1, 0.2)), ((1, 2), (0.1, float("nan")))],
)
def test_what_is_no_curve_is_refused(steps, scores):
    with pytest.raises(ValueError, match="curve"):
        Curve(steps, scores)


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match="share"):
        steps_to_share(line(), line(), share)
