"""From `notebooks/_source/*.py` (jupytext percent) to a student and a solution notebook, byte for byte stable.

In a source, an answer stands between `# solution` and `# end solution`. The student notebook shows `...` there.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from voco_lite.checkpoints import write_text

SOURCES = "_source"
SOLUTIONS = "solutions"
_MARKER = re.compile(r"^(?P<indent>\s*)# (?P<which>solution|end solution)\s*$")
_KERNEL = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def folder() -> Path:
    """The folder `notebooks/` of the checkout that this package lies in, else of the working folder.

    Raises:
        FileNotFoundError: Neither is there.
    """
    tried = (Path(__file__).resolve().parents[2] / "notebooks", Path.cwd() / "notebooks")
    for place in tried:
        if (place / SOURCES).is_dir():
            return place
    raise FileNotFoundError(
        f"The notebooks must lie in {tried[0]} or {tried[1]}, got neither. Run from a checkout of the repository."
    )


def names() -> list[str]:
    """Names of all notebooks: those of the series in the order in which they are read, `NN_name`, then the others."""
    return sorted(path.stem for path in (folder() / SOURCES).glob("[a-z0-9]*.py"))


def build(check: bool = False) -> list[str]:
    """Write every notebook that differs from its source, in the student and the solution version.

    Args:
        check: Write nothing, only say which would be written.

    Returns:
        The files written (or stale), as paths.

    Raises:
        ValueError: A source whose solution markers do not pair.
    """
    changed = []
    for path, text in built().items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        changed.append(str(path))
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)
    return changed


def built() -> dict[Path, str]:
    """What every built notebook should hold, by path."""
    texts = {}
    for name in names():
        source = folder() / SOURCES / f"{name}.py"
        texts[folder() / f"{name}.ipynb"] = notebook_text(source, solution=False)
        texts[folder() / SOLUTIONS / f"{name}.ipynb"] = notebook_text(source, solution=True)
    return texts


def notebook_text(source: Path, solution: bool) -> str:
    """One version of a notebook as the text of an `.ipynb` file.

    Raises:
        ValueError: Solution markers that do not pair.
    """
    import jupytext
    import nbformat

    notebook = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent")
    cells: list[dict[str, Any]] = []
    for number, cell in enumerate(notebook.cells, start=1):
        text = cell.source
        if cell.cell_type == "code":
            text = _version(text, solution, f"{source.name}, cell {number}")
        cells.append(_cell(cell, text, taken=[made["id"] for made in cells]))
    whole = nbformat.from_dict({"cells": cells, "metadata": _KERNEL, "nbformat": 4, "nbformat_minor": 5})
    nbformat.validate(whole)
    return str(nbformat.writes(whole)).rstrip("\n") + "\n"


def _cell(cell: Any, text: str, taken: list[str]) -> dict[str, Any]:
    """A cell without outputs; its id is made of its content, so that an edit elsewhere leaves it alone."""
    tags = cell.metadata.get("tags")
    made: dict[str, Any] = {
        "cell_type": cell.cell_type,
        "id": _identity(cell.cell_type + text, taken),
        "metadata": {"tags": list(tags)} if tags else {},
        "source": text,
    }
    return made | {"execution_count": None, "outputs": []} if cell.cell_type == "code" else made


def _identity(content: str, taken: list[str]) -> str:
    digest, copies = hashlib.sha256(content.encode()).hexdigest()[:12], 0
    while (identity := digest if copies == 0 else f"{digest}-{copies}") in taken:
        copies += 1
    return identity


def _version(text: str, solution: bool, where: str) -> str:
    """The cell with its answers, or with `...` in their place; without the markers."""
    lines, inside = [], False
    for line in text.split("\n"):
        marker = _MARKER.match(line)
        if marker is None:
            if solution or not inside:
                lines.append(line)
            continue
        opens = marker["which"] == "solution"
        if opens == inside:
            raise ValueError(
                f"{where}: solution markers must pair, got a second `# {marker['which']}`. "
                "Write `# solution`, the answer, `# end solution`."
            )
        inside = opens
        if opens and not solution:
            lines.append(f"{marker['indent']}...")
    if inside:
        raise ValueError(f"{where}: `# solution` must be closed, got the end of the cell. Write `# end solution`.")
    return "\n".join(lines)
