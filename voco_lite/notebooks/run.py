"""Run a notebook with papermill: parameters are checked first, outputs stay small, a failure names its cell."""

from __future__ import annotations

import ast
import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from voco_lite.notebooks.build import SOLUTIONS, folder, names
from voco_lite.notebooks.results import RESULTS
from voco_lite.viewers.webgl import HEADLESS

_TIMEOUT_S = 3600
_CHOICE = re.compile(r'"([^"]+)"')


class NotebookFailed(ValueError):
    """A notebook stopped at an error; what it had done so far was kept."""


def run(
    name_or_path: str | Path,
    parameters: Mapping[str, Any] | None = None,
    out_folder: str | Path | None = None,
    solution: bool = False,
    timeout: float = _TIMEOUT_S,
    progress: bool = False,
) -> dict[str, Any]:
    """Execute one notebook; its working folder is ``out_folder``, and its `OUT` too unless it is given.

    Args:
        name_or_path: A name of `names`, its number ("05"), or the path of any notebook with a `parameters` cell.
        parameters: Values for the names of the notebook's `parameters` cell.
        out_folder: Where the executed notebook, `results.json` and figures go; None: `runs/NAME`.
        solution: Take the version with answers.
        timeout: Seconds that one cell may take.
        progress: Show a progress bar.

    Returns:
        "notebook" (executed), "results" (path of `results.json`, or None), "numbers" (its content), "figures" (paths),
        "seconds". Paths are texts.

    Raises:
        FileNotFoundError: No such notebook.
        ValueError: Unknown parameter or a value of the wrong kind; nothing was run.
        NotebookFailed: A cell raised or took too long; the executed notebook holds everything up to there.
    """
    path = notebook_path(name_or_path, solution)
    values = checked_parameters(path, parameters or {})
    place = Path(out_folder) if out_folder is not None else Path("runs") / path.stem
    place.mkdir(parents=True, exist_ok=True)
    (place / RESULTS).unlink(missing_ok=True)
    executed, started = place / path.name, time.perf_counter()
    if executed.resolve() == path.resolve():
        raise ValueError(f"out_folder must not be the notebook's own folder, got {place}. Name another folder.")
    _execute(path, executed, values, timeout, progress)
    results = place / RESULTS
    return {
        "notebook": str(executed),
        "results": str(results) if results.is_file() else None,
        "numbers": json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {},
        "figures": [str(figure) for figure in sorted(place.glob("*.png"))],
        "seconds": round(time.perf_counter() - started, 1),
    }


def notebook_path(name_or_path: str | Path, solution: bool = False) -> Path:
    """The file behind a name, a number or a path.

    Raises:
        FileNotFoundError: There is none, or it has not been built.
    """
    if str(name_or_path).endswith(".ipynb"):
        path = Path(name_or_path)
    else:
        known = names()
        fits = [name for name in known if str(name_or_path) in (name, name[:2])]
        if not fits:
            raise FileNotFoundError(
                f"There is no notebook {str(name_or_path)!r}. Names: {', '.join(known)}; or give the path of an .ipynb."
            )
        path = folder() / (SOLUTIONS if solution else "") / f"{fits[0]}.ipynb"
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}. Build the notebooks with `python -m voco_lite notebooks build`.")
    return path


def checked_parameters(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values to inject: those given, after a check against the notebook's own, and `OUT`.

    A default's comment may list the allowed texts: `SIZE = "laptop"  # "laptop" or "ci"`.

    Raises:
        ValueError: Unknown name, or a value of another kind than the default.
    """
    import papermill

    known = papermill.inspect_notebook(str(path))
    unknown = sorted(set(given) - set(known))
    if unknown:
        shown = ", ".join(f"{name} = {entry['default']}" for name, entry in known.items()) or "none"
        raise ValueError(f"{path.stem} has no parameter {', '.join(unknown)}. Its parameters: {shown}.")
    for name, value in given.items():
        _check_value(name, value, known[name])
    return ({"OUT": "."} if "OUT" in known else {}) | dict(given)


def _check_value(name: str, value: Any, entry: Mapping[str, Any]) -> None:
    try:
        default = ast.literal_eval(entry["default"])
    except (ValueError, SyntaxError):
        return
    kinds: tuple[type, ...] = (int, float) if isinstance(default, float) else (type(default),)
    of_kind = isinstance(value, kinds) and isinstance(value, bool) == isinstance(default, bool)
    if default is not None and not of_kind:
        raise ValueError(
            f"{name} must be {kinds[-1].__name__}, got {value!r} ({type(value).__name__}). Its default is {default!r}."
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}. Its default is {default!r}.")
    if isinstance(value, int) and isinstance(default, int) and default > 0 and value < 0:
        raise ValueError(f"{name} must be at least 0, got {value}. Its default is {default!r}.")
    choices = _CHOICE.findall(entry.get("help") or "")
    if isinstance(default, str) and default in choices and value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")


def _execute(path: Path, executed: Path, values: dict[str, Any], timeout: float, progress: bool) -> None:
    """Run it.

    Raises:
        NotebookFailed: A cell raised, took too long, or the kernel ended.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    kept = f"What ran up to there: {executed}"
    try:
        with _nobody_looks():
            papermill.execute_notebook(
                str(path), str(executed), values, kernel_name="python3", cwd=str(executed.parent),
                progress_bar=progress, execution_timeout=math.ceil(timeout), start_timeout=300,
                store_widget_state=False,  # would put the JavaScript of every widget into the file, 5 MB each
            )  # fmt: skip
    except PapermillExecutionError as error:
        first = " ".join(str(error.evalue).split())
        raise NotebookFailed(
            f"{path.stem} stopped at cell {error.cell_index} ({_first_line(error.source)!r}): {error.ename}: {first} {kept}"
        ) from error
    except CellTimeoutError as error:
        raise NotebookFailed(
            f"{path.stem}: a cell took longer than {timeout:g} s. Give more `timeout`. {kept}"
        ) from error
    except DeadKernelError as error:
        raise NotebookFailed(f"{path.stem}: the kernel ended, often for want of memory. {kept}") from error


@contextmanager
def _nobody_looks() -> Iterator[None]:
    """Tell kernels that start meanwhile that no browser will answer: a viewer that waits for one would wait for ever."""
    before = os.environ.get(HEADLESS)
    os.environ[HEADLESS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[HEADLESS]
        else:
            os.environ[HEADLESS] = before


def _first_line(source: str) -> str:
    lines = [line for line in source.splitlines() if line.strip()]
    return lines[0] if lines else ""
