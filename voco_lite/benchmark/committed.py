"""Results that come with the package, and who they were made of."""

from __future__ import annotations

from pathlib import Path

from voco_lite.benchmark.planning import Stage
from voco_lite.benchmark.protocol import Protocol
from voco_lite.benchmark.running import read_folder

_OWN = Path(__file__).with_name("results")


def find_results(name: str) -> Path:
    """The folder of a benchmark: a path, or the name of one whose results come with the package.

    Raises:
        FileNotFoundError: Neither.
    """
    own = {folder.name: folder for folder in _folders()}
    if not Path(name).is_dir() and name not in own:
        raise FileNotFoundError(f"There is no benchmark {name}. Give its folder, or one of {', '.join(own)}.")
    return own[name] if name in own else Path(name)


def list_results() -> list[tuple[str, Stage]]:
    """Names and stages of the results that come with the package."""
    stages: tuple[Stage, ...] = ("validation", "test")
    return [(f.name, stage) for f in _folders() for stage in stages if (f / stage / "scores.csv").is_file()]


def committed_subjects(protocol: Protocol) -> frozenset[str]:
    """Names of the subjects that the package's results of a protocol were made of; none where it has none."""
    for folder in _folders():
        own, split = read_folder(folder)
        if own.sha256 == protocol.sha256:
            return frozenset((*split.training, *split.validation, *split.test))
    return frozenset()


def _folders() -> list[Path]:
    return sorted(folder for folder in _OWN.iterdir() if folder.is_dir())
