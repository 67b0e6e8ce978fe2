"""How results reach the terminal."""

from __future__ import annotations

import json
from typing import Any


def show(result: Any) -> None:
    """Print text as it is, one line for each item of a list, tables as JSON."""
    if result is None:
        return
    items = result if isinstance(result, list | tuple) else [result]
    for item in items:
        print(json.dumps(item, indent=2, default=str) if isinstance(item, dict) else item)


def duration(seconds: float) -> str:
    """A time in the two units that matter: "41 s", "2 min 05 s", "3 h 20 min", "5 d 04 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def gigabytes(size: float) -> str:
    """A size in bytes as text in MB or GB (powers of ten)."""
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
