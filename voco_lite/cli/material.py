"""`samples` and `notebooks`: what there is to learn from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, UseAppendAction

from voco_lite.cli.printing import show


@dataclass(frozen=True)
class Samples:
    """List, fetch or check the sample data.

    Attributes:
        action: "list" shows what there is, "fetch" downloads, "check" compares files with their sha256.
        names: Which samples; none: all.
    """

    action: Positional[Literal["list", "fetch", "check"]] = "list"
    names: Positional[tuple[str, ...]] = ()

    def run(self) -> None:
        """Do it, and print what came of it."""
        from voco_lite import samples

        if self.action == "fetch":
            names = self.names or tuple(_names(samples.catalogue()))
            for name in names:
                print(samples.fetch(name))
        else:
            show(samples.catalogue() if self.action == "list" else samples.check(self.names))


@dataclass(frozen=True)
class Notebooks:
    """List, run or build the notebooks, or summarise what runs left behind.

    Attributes:
        action: "list" shows their names, "run" executes one with papermill, "build" writes the student and solution
            versions, "summary" collects the results of a folder.
        target: The notebook to run, or the folder to summarise.
        parameters: A parameter and its value, once for each: -p STEPS 20 -p SEED 1.
        out_folder: Where an executed notebook and its results go; left out: runs/NAME.
        solution: Run the version with the answers.
        timeout: Seconds that one cell may take.
    """

    action: Positional[Literal["list", "run", "build", "summary"]] = "list"
    target: Positional[str | None] = None
    parameters: Annotated[UseAppendAction[tuple[tuple[str, str], ...]], tyro.conf.arg(aliases=["-p"])] = ()
    out_folder: str | None = None
    solution: bool = False
    timeout: int = 3600

    def run(self) -> None:
        """Do it, and print what came of it."""
        from voco_lite import notebooks

        if self.action in ("run", "summary") and self.target is None:
            raise ValueError(
                f"notebooks {self.action} needs a target, got none. Names: {', '.join(notebooks.names())}."
            )
        target = self.target or ""
        if self.action == "list":
            show(notebooks.names())
        elif self.action == "build":
            show(notebooks.build())
        elif self.action == "summary":
            show(notebooks.summary(target))
        else:
            values = {name: _value(text) for name, text in self.parameters}
            show(notebooks.run(target, values, self.out_folder, self.solution, self.timeout, progress=True))


def _names(entries: Any) -> list[str]:
    return [entry if isinstance(entry, str) else entry["name"] for entry in entries]


def _value(text: str) -> Any:
    """A parameter's value: JSON where it reads as JSON, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
