"""How an exercise is graded: the answer runs on fresh inputs and is compared with the right one and with known mistakes.

Nothing here trusts the learner's code: it may raise, change its inputs, draw random numbers or return anything.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

RIGHT, WRONG, OPEN = "✓", "✗", "○"
_NOT_YET = "not written yet."
_MEAN_OF_BOOLEANS = "PyTorch takes no mean of booleans or whole numbers: write `.double()` before `.mean()`."
_NOTHING_RETURNED = "not written yet: nothing is returned so far. If you wrote it, does it end with `return`?"


@dataclass(frozen=True)
class Mistake:
    """A known wrong answer.

    Attributes:
        hint: What to tell whoever made it.
        does: A function that makes this mistake; same arguments as the exercise.
    """

    hint: str
    does: Callable[..., Any]


@dataclass(frozen=True)
class Exercise:
    """What is asked, and how one sees that it is right.

    Attributes:
        name: Number and title, as in the notebook.
        right: The right answer, as a function.
        cases: Makes the argument tuples on which answers are compared; called anew for every run.
        mistakes: Known wrong answers; the first that equals the learner's on all cases gives the hint.
        well_done: What the right answer means, in one sentence.
        inspect: Looks at what the values cannot show (a gradient); gets the raw result and the arguments, returns a hint
            or None.
        tolerance: Largest difference, absolute and relative.
    """

    name: str
    right: Callable[..., Any]
    cases: Callable[[], Sequence[tuple[Any, ...]]]
    mistakes: tuple[Mistake, ...]
    well_done: str
    inspect: Callable[..., str | None] | None = None
    tolerance: float = 1e-4


def check(exercise: Exercise, answer: Any) -> None:
    """Print the verdict on an answer: one line that starts with ✓, ✗ or ○. Never raises."""
    try:
        mark, words = grade(exercise, answer)
    except Exception as error:
        mark, words = (
            WRONG,
            f"the answer could not be compared ({type(error).__name__}). Return plain numbers or tensors.",
        )
    print(f"{mark} {exercise.name}: {words}")


def check_value(name: str, answer: Any, hint_for: Callable[[Any], str | None], well_done: str) -> None:
    """Print the verdict on a value (no function); ``hint_for`` returns None for a right one. Never raises."""
    if _is_open(answer):
        print(f"{OPEN} {name}: {_NOT_YET}")
        return
    try:
        hint = hint_for(copy.deepcopy(answer))
    except Exception as error:
        hint = f"the answer has the wrong form ({type(error).__name__}: {error})."
    print(f"{RIGHT} {name}: {well_done}" if hint is None else f"{WRONG} {name}: {hint}")


def grade(exercise: Exercise, answer: Any) -> tuple[str, str]:
    """Mark and words for a function that a learner wrote."""
    if _is_open(answer):
        return OPEN, _NOT_YET
    if not callable(answer):
        kind = type(answer).__name__
        return WRONG, f"expected a function, got {kind}. Hand over the function itself: its name without brackets."
    try:
        cases, found = _answers(exercise, answer)
    except NotImplementedError:
        return OPEN, _NOT_YET
    except (Exception, SystemExit) as error:
        return WRONG, _raised(error)
    results = []
    for untouched, case, result in zip(exercise.cases(), cases, found, strict=True):
        if _is_open(result):
            return OPEN, _NOTHING_RETURNED
        if not _same_inputs(case, untouched):
            return (
                WRONG,
                "it changes its input. Make a new one: no `x += …`, no `x[…] = …`, no methods that end in `_`.",
            )
        hint = exercise.inspect(result, *case) if exercise.inspect else None
        if hint:
            return WRONG, hint
        results.append(_numbers(result))
    return _compare(exercise, results)


def _answers(exercise: Exercise, answer: Callable[..., Any]) -> tuple[Sequence[tuple[Any, ...]], list[Any]]:
    """The cases, and what the answer returns; an answer for NumPy, which raises on tensors, is given arrays instead.

    Raises:
        Whatever the answer raised on the cases as they are.
    """
    cases = exercise.cases()
    try:
        return cases, [_run(answer, case) for case in cases]
    except NotImplementedError:
        raise
    except (Exception, SystemExit):
        if exercise.inspect is None:  # what inspects looks at gradients, which arrays lack
            arrays = [
                tuple(x.detach().numpy() if isinstance(x, Tensor) else x for x in case) for case in exercise.cases()
            ]
            with suppress(Exception, SystemExit):
                return arrays, [_run(answer, case) for case in arrays]
        raise


def _compare(exercise: Exercise, results: list[Tensor | None]) -> tuple[str, str]:
    expected = [_numbers(_run(exercise.right, case)) for case in exercise.cases()]
    if _agree(results, expected, exercise.tolerance):
        return RIGHT, exercise.well_done
    for mistake in exercise.mistakes:
        if _agree(results, _results_of(mistake, exercise), exercise.tolerance):
            return WRONG, mistake.hint
    return WRONG, _difference(results, expected, exercise.tolerance)


def _results_of(mistake: Mistake, exercise: Exercise) -> list[Tensor | None]:
    return [_numbers(_run(mistake.does, case)) for case in exercise.cases()]


def _run(function: Callable[..., Any], case: tuple[Any, ...]) -> Any:
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        return function(*case)


def _is_open(answer: Any) -> bool:
    return answer is None or answer is Ellipsis


def _raised(error: BaseException) -> str:
    if isinstance(error, RuntimeError) and "could not infer output dtype" in str(error):
        return f"it raised {type(error).__name__}: {_MEAN_OF_BOOLEANS}{_line(error)}"
    return f"it raised {type(error).__name__}: {error}{_line(error)}"


def _line(error: BaseException) -> str:
    """Where the learner's own code stood when it raised."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    return f" (line {frames[0].lineno} of the cell: `{frames[0].line}`)" if frames and frames[0].line else ""


def _same_inputs(case: tuple[Any, ...], untouched: tuple[Any, ...]) -> bool:
    pairs = [(a, b) for a, b in zip(case, untouched, strict=True) if isinstance(a, Tensor | np.ndarray)]
    return all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs)


def _numbers(result: Any) -> Tensor | None:
    """The result as a float64 tensor on the CPU, None where it holds no real numbers."""
    try:
        if isinstance(result, list | tuple):
            result = torch.stack([torch.as_tensor(item).detach() for item in result])
        tensor = result.detach() if isinstance(result, Tensor) else torch.as_tensor(np.asarray(result))
        return None if tensor.is_complex() else tensor.to("cpu", torch.float64)
    except Exception:
        return None


def _agree(results: list[Tensor | None], expected: list[Tensor | None], tolerance: float) -> bool:
    return all(_close(a, b, tolerance) for a, b in zip(results, expected, strict=True))


def _close(a: Tensor | None, b: Tensor | None, tolerance: float) -> bool:
    if a is None or b is None:
        return False
    if a.numel() == b.numel() == 1:
        a, b = a.reshape(()), b.reshape(())
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


def _difference(results: list[Tensor | None], expected: list[Tensor | None], tolerance: float) -> str:
    """The first thing that differs, in words."""
    for result, wanted in zip(results, expected, strict=True):
        if wanted is None or _close(result, wanted, tolerance):
            continue
        if result is None:
            return "it returns something that is not made of real numbers. Return a number or a tensor."
        if result.shape != wanted.shape and not result.numel() == wanted.numel() == 1:
            return f"expected shape {tuple(wanted.shape)}, got {tuple(result.shape)}."
        wrong = ~torch.isclose(result, wanted.reshape(result.shape), rtol=tolerance, atol=tolerance)
        where = tuple(int(i) for i in wrong.nonzero()[0])
        entry = f"entry {list(where)} is" if where else "it returns"
        return f"{entry} {float(result[where]):.4g}, expected {float(wanted.reshape(result.shape)[where]):.4g}."
    return "some cases differ."
