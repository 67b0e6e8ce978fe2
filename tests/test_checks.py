"""Exercise checks: right answers, known mistakes, unwritten and broken answers; bands of expected outcomes."""

import ast
import inspect
import math
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import voco_lite as vl
from voco_lite import checks
from voco_lite.checks.grading import Exercise

GRID = vl.CropGrid(cells=(3, 3, 1), crop_size=(8, 8, 8))
TRUTH = {"A": "plateau", "B": "healthy", "C": "labels", "D": "collapse"}
FUNCTIONS = [
    "megabytes", "value_at", "window", "position_mm", "new_shape", "grid_starts", "position_labels",
    "position_similarity", "positive_term", "negative_term", "reachable_crop", "ema", "half_life", "stop_gradient",
    "top1", "orthogonal_level", "effective_rank", "merged_corners", "inflated_channels", "averaged_gradients",
    "micro_batches", "best_match", "same_share", "dice_of_an_organ", "target_error", "folding",
    "paired_t", "step_down", "steps_of_a_schedule", "share_gained", "always_the_most_frequent",
    "area_under_the_curve", "spread_targets", "recall",
]  # fmt: skip
VALUES = {
    "four_quarters": lambda answer: checks.four_quarters(answer, GRID),
    "why_untrained_is_good": checks.why_untrained_is_good,
    "what_one_run_says": checks.what_one_run_says,
    "diagnosis": lambda answer: checks.diagnosis(answer, TRUTH),
}

ELSEWHERE = {"steps_to_target", "what_the_table_says"}  # test_checks_benchmarks.py


def exercise_of(name: str) -> Exercise:
    """The exercise behind a check, caught on its way to the grading."""
    function, caught = getattr(checks, name), []
    module = sys.modules[function.__module__]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "check", lambda exercise, answer: caught.append(exercise))
        function(None)
    return caught[0]


MISTAKES = [(name, i) for name in FUNCTIONS for i in range(len(exercise_of(name).mistakes))]


def said(capsys: pytest.CaptureFixture[str], name: str, answer: object) -> str:
    run = VALUES.get(name) or getattr(checks, name)
    run(answer)
    return capsys.readouterr().out


def test_every_exported_check_is_tested_here():
    assert set(FUNCTIONS) | set(VALUES) == set(checks.__all__) - {"expect", "OutsideBand"} - ELSEWHERE


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_right_answer_passes(name, capsys):
    assert said(capsys, name, exercise_of(name).right).startswith("✓ ")


@pytest.mark.parametrize(("name", "i"), MISTAKES)
def test_a_known_mistake_gets_its_own_hint(name, i, capsys):
    mistake = exercise_of(name).mistakes[i]
    words = said(capsys, name, mistake.does)
    assert words.startswith("✗ ") and mistake.hint in words


@pytest.mark.parametrize("name", [*FUNCTIONS, *VALUES])
@pytest.mark.parametrize("answer", [None, ...])
def test_nothing_written_yet_is_an_open_circle(name, answer, capsys):
    assert said(capsys, name, answer).startswith("○ ")


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("result", [None, ...])
def test_a_function_without_a_result_is_an_open_circle(name, result, capsys):
    assert said(capsys, name, lambda *_: result).startswith("○ ")


class Hostile:
    """Raises at whatever one does with it."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __array__(self, *_, **__):
        raise SystemExit("hostile")

    def __eq__(self, other):
        raise RuntimeError("eq")

    __hash__ = None  # type: ignore[assignment]


def raises(error):
    def answer(*_):
        raise error

    return answer


BROKEN = [
    raises(ValueError("no")), raises(SystemExit(3)), raises(RecursionError()), lambda: 1, lambda *_: "word", lambda *_: {},
    lambda *_: [], lambda *_: [[1], [2, 3]], lambda *_: 1j, lambda *_: math.nan, lambda *_: torch.zeros(0), 3, "text", [],
    {}, object(), lambda *_: Hostile(), Hostile(),
]  # fmt: skip


@pytest.mark.parametrize("name", [*FUNCTIONS, *VALUES])
@pytest.mark.parametrize("i", range(len(BROKEN)))
def test_broken_answers_are_wrong_and_never_raise(name, i, capsys):
    assert said(capsys, name, BROKEN[i]).startswith("✗ ")


def test_an_error_of_the_learner_is_shown_with_its_message(capsys):
    assert "ZeroDivisionError: division by zero" in said(capsys, "half_life", lambda momentum: momentum / 0)


def test_not_implemented_counts_as_not_written(capsys):
    assert said(capsys, "ema", raises(NotImplementedError())).startswith("○ ")


def test_an_answer_that_changes_its_input_is_told_so(capsys):
    def in_place(hu, low, high):
        return hu.sub_(low).div_(high - low).clamp_(0, 1)

    assert "changes its input" in said(capsys, "window", in_place)


def test_an_unknown_mistake_shows_what_differs(capsys):
    words = said(capsys, "window", lambda hu, low, high: ((hu - low) / (high - low)).clamp(0, 1) * 0.5)
    assert "entry [2] is 0.1824, expected 0.3647" in words


def test_a_wrong_shape_is_named(capsys):
    assert "expected shape (6,), got (3,)" in said(capsys, "window", lambda hu, low, high: hu[:3])


def test_random_numbers_of_the_learner_do_not_touch_the_global_state(capsys):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    said(capsys, "half_life", lambda momentum: float(torch.rand(())))
    assert torch.equal(before, torch.get_rng_state())


def test_numpy_lists_and_numbers_are_accepted(capsys):
    answers = {
        "window": lambda hu, low, high: np.clip((hu.numpy() - low) / (high - low), 0, 1),
        "new_shape": lambda shape, a, b: np.array([n * p / q for n, p, q in zip(shape, a, b, strict=True)]),
        "grid_starts": lambda grid: [list(map(int, row)) for row in vl.grid_starts(grid)],
        "megabytes": lambda shape: torch.tensor(shape).prod() * 4 / 1e6,
    }
    assert all(said(capsys, name, answer).startswith("✓") for name, answer in answers.items())


def test_the_package_itself_passes_the_checks_of_geometry_and_similarity(capsys):
    for name in ("grid_starts", "position_labels", "position_similarity"):
        assert said(capsys, name, getattr(vl, name)).startswith("✓")


# Mistakes as a learner would write them, apart from the implementations that the checks compare with.


def loops_with_y_outside(grid):
    nx, ny, nz = grid.cells
    sx, sy, sz = grid.crop_size
    return torch.tensor([(i * sx, j * sy, k * sz) for j in range(ny) for i in range(nx) for k in range(nz)])


def test_loops_in_the_wrong_order_get_no_praise(capsys):
    assert said(capsys, "grid_starts", loops_with_y_outside).startswith("✗")


def test_forgotten_relu_is_recognised(capsys):
    answer = lambda crops, bases: torch.stack([F.cosine_similarity(c[None], bases) for c in crops])  # noqa: E731
    assert "relu" in said(capsys, "position_similarity", answer)


def test_a_gradient_into_the_teacher_is_recognised(capsys):
    assert "through the teacher" in said(capsys, "stop_gradient", lambda c, b: vl.position_similarity(c, b))


def test_a_detached_student_is_recognised(capsys):
    assert "detached the student" in said(capsys, "stop_gradient", lambda c, b: vl.position_similarity(c.detach(), b))


def test_two_stops_are_recognised(capsys):
    answer = lambda c, b: vl.position_similarity(c.detach(), b.detach())  # noqa: E731
    assert "no gradient is left" in said(capsys, "stop_gradient", answer)


def test_a_no_grad_block_around_everything_is_recognised(capsys):
    assert "no gradient is left" in said(capsys, "stop_gradient", torch.no_grad()(vl.position_similarity))


def test_a_moving_average_with_gradient_is_recognised(capsys):
    assert "carry a gradient" in said(capsys, "ema", lambda t, s, m: m * t + (1 - m) * s)


def test_a_moving_average_without_gradient_passes(capsys):
    assert said(capsys, "ema", lambda t, s, m: torch.lerp(t, s.detach(), 1 - m)).startswith("✓")


@pytest.mark.parametrize(
    ("start", "mark", "word"),
    [
        ((4, 4, 0), "✓", "middle"),
        ((12, 4, 0), "✓", "middle"),
        (torch.tensor([4, 12, 0]), "✓", "middle"),
        ((8, 8, 0), "✗", "is a base crop"),
        ((4, 8, 0), "✗", "other axis"),
        ((3, 4, 0), "✗", "not equally"),
        ((40, 4, 0), "✗", "leaves the grid"),
        ((4, 4), "✗", "three numbers"),
    ],
)
def test_four_quarters(start, mark, word, capsys):
    words = said(capsys, "four_quarters", start)
    assert words.startswith(mark) and word in words


@pytest.mark.parametrize(("letter", "mark"), [("c", "✓"), (" C ", "✓"), ("a", "✗"), ("b", "✗"), ("d", "✗"), ("z", "✗")])
def test_quiz_answers(letter, mark, capsys):
    assert said(capsys, "why_untrained_is_good", letter).startswith(mark)


def test_each_wrong_quiz_answer_has_its_own_explanation(capsys):
    assert len({said(capsys, "why_untrained_is_good", letter) for letter in "abdz"}) == 4


def test_diagnosis_names_the_first_wrong_run_and_the_sign_to_look_for(capsys):
    words = said(capsys, "diagnosis", TRUTH | {"B": "plateau", "A": "healthy"})
    assert words.startswith("✗") and "2 of 4" in words and "run A" in words and "healthy run" in words


def test_diagnosis_accepts_the_truth_and_leaves_blanks_open(capsys):
    assert said(capsys, "diagnosis", dict(TRUTH)).startswith("✓")
    assert said(capsys, "diagnosis", dict.fromkeys(TRUTH)).startswith("○")
    assert "no diagnosis yet" in said(capsys, "diagnosis", TRUTH | {"A": ...})
    assert "'ill' is no diagnosis" in said(capsys, "diagnosis", TRUTH | {"A": "ill"})


def test_a_value_inside_its_band_is_printed_with_the_band(capsys):
    checks.expect("loss", torch.tensor(0.25), between=(0.2, 0.3))
    assert capsys.readouterr().out == "loss: 0.25 (expected: 0.2 to 0.3)\n"


@pytest.mark.parametrize("value", [0.19, 0.31, math.nan, math.inf])
def test_a_value_outside_its_band_stops_and_names_the_band(value):
    with pytest.raises(checks.OutsideBand, match=r"^loss is .*, expected 0\.2 to 0\.3\."):
        checks.expect("loss", value, between=(0.2, 0.3))


def test_a_band_that_does_not_apply_only_prints(capsys):
    checks.expect("loss", 9, between=(0.2, 0.3), applies=False)
    assert "with the default parameters: 0.2 to 0.3" in capsys.readouterr().out


def test_a_band_upside_down_is_refused():
    with pytest.raises(ValueError, match="Swap the two"):
        checks.expect("loss", 0.25, between=(0.3, 0.2))


def test_checks_use_no_assert_statement():
    trees = [ast.parse(inspect.getsource(sys.modules[getattr(checks, name).__module__])) for name in FUNCTIONS]
    assert not any(isinstance(node, ast.Assert) for tree in trees for node in ast.walk(tree))


@pytest.mark.parametrize("letter", ["a", "b", "d"])
def test_one_run_never_names_a_winner(letter, capsys):
    assert said(capsys, "what_one_run_says", letter).startswith("✗")
    assert said(capsys, "what_one_run_says", "C").startswith("✓")


def test_the_dice_of_the_exercise_is_monai_s(capsys):
    from monai.metrics import compute_dice

    monai = lambda p, t: compute_dice(p[None, None].float(), t[None, None].float())[0, 0]  # noqa: E731
    assert said(capsys, "dice_of_an_organ", monai).startswith("✓")


def test_the_t_of_the_exercise_is_scipy_s(capsys):
    from scipy import stats

    assert said(capsys, "paired_t", lambda d: stats.ttest_1samp(d, 0).statistic).startswith("✓")


def test_holm_written_as_in_a_textbook_passes(capsys):
    def textbook(p):
        largest, out, order = 0.0, [0.0] * len(p), sorted(range(len(p)), key=lambda i: float(p[i]))
        for rank, place in enumerate(order):
            largest = max(largest, min(1.0, float(p[place]) * (len(p) - rank)))
            out[place] = largest
        return out

    assert said(capsys, "step_down", textbook).startswith("✓")


def test_the_auroc_of_the_exercise_is_scikit_learn_s(capsys):
    from sklearn.metrics import roc_auc_score

    assert said(capsys, "area_under_the_curve", lambda s, y: roc_auc_score(y, s)).startswith("✓")
