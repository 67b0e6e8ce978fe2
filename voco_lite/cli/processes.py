"""Several processes, one voice."""

from __future__ import annotations

import os


def first_process() -> bool:
    """Whether this process speaks for all: what `accelerate launch` starts several times says things once."""
    return os.environ.get("RANK", "0") == "0"
