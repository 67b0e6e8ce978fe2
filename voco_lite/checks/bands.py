"""Expected outcomes: a number that a notebook promises, and the band in which it has to lie."""

from __future__ import annotations

import math
from typing import SupportsFloat


class OutsideBand(ValueError):
    """A notebook's result lies outside the band that its text promises."""


def expect(name: str, value: SupportsFloat, between: tuple[float, float], applies: bool = True) -> None:
    """Print a result beside its expected band, and stop the notebook when it lies outside.

    Args:
        name: What was measured.
        value: The number.
        between: Smallest and largest expected value, both allowed.
        applies: The band was measured for the settings at hand; False only prints.

    Raises:
        OutsideBand: The value is outside, or not a number.
        ValueError: The band is upside down.
    """
    low, high = between
    if not low <= high:
        raise ValueError(f"between must be (smallest, largest), got {between}. Swap the two.")
    number = float(value)
    inside = math.isfinite(number) and low <= number <= high
    band = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    if not applies:
        print(f"{name}: {number:.4g} (with the default parameters: {band})")
        return
    if not inside:
        raise OutsideBand(
            f"{name} is {number:.4g}, expected {band}. Restart the kernel and run all cells in order with the default "
            "parameters; if it stays outside, the installed versions behave differently from the tested ones "
            "(constraints.txt)."
        )
    print(f"{name}: {number:.4g} (expected: {band})")
