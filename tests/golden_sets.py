"""Reading the golden numbers: inputs and outputs of the released functions."""

from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent / "golden"


def golden(name):
    """The cases of a golden set as dictionaries, by case name."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return {
            str(case): {key.split("/", 1)[1]: file[key] for key in file.files if key.startswith(f"{case}/")}
            for case in file["names"]
        }


def cases(*names):
    """The cases of golden sets as parameters of a test."""
    return [pytest.param(case, id=key) for name in names for key, case in golden(name).items()]


def under(case, prefix):
    """The entries of a case below a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in case.items() if key.startswith(prefix)}
