"""Which cells of a notebook make a widget: those that call a name of `viewers` that does."""

from __future__ import annotations

import ast
import inspect

import nbformat

from voco_lite import viewers
from voco_lite.notebooks.run import notebook_path


def makes_a_widget(name: str) -> bool:
    """Whether a public name of `viewers` is a widget with a picture, or a function that says that it returns one."""
    public = getattr(viewers, name)
    kind = public if isinstance(public, type) else inspect.signature(public).return_annotation
    kind = getattr(viewers, kind, None) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, viewers.PictureBox)


MAKERS = {"view"} | {name for name in viewers.__all__ if makes_a_widget(name)}


def calls(source: str) -> set[str]:
    """Names that a cell calls, without what stands before their last dot."""
    functions = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return {str(getattr(function, "attr", getattr(function, "id", ""))) for function in functions}


def cells_with_widgets(name: str) -> list[str]:
    """Sources of the cells of a notebook that make a widget with a picture."""
    whole = nbformat.read(notebook_path(name), as_version=4)
    return [cell.source for cell in whole.cells if cell.cell_type == "code" and calls(cell.source) & MAKERS]
