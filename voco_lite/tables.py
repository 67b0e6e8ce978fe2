"""Dataclasses as CSV, one row each: written whole or not at all, and read with a word on what is wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, TypeVar

from voco_lite.checkpoints import write_text

_LARGEST_FILE = 64 * 2**20  # bytes; a row has some 60
_KINDS: dict[str, Any] = {"str": str, "int": int, "float": float}
Row = TypeVar("Row")


def write_rows(file: str | Path, kind: type, rows: Iterable[Any]) -> Path:
    """Write rows as CSV under the names of their fields; an earlier file is replaced, missing folders are made.

    Args:
        file: Where to.
        kind: Dataclass of the rows; its fields are texts, whole numbers and numbers.
        rows: Of that kind; without any, the file has the names only.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(column_names(kind))
    writer.writerows(astuple(row) for row in rows)
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text.getvalue())
    return path


def read_rows(file: str | Path, kind: type[Row]) -> list[Row]:
    """The rows of a table that `write_rows` wrote.

    Args:
        file: The table.
        kind: The dataclass of its rows.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Not such a table; the message names the line.
    """
    path, names = Path(file), column_names(kind)
    if not path.is_file():
        raise FileNotFoundError(f"There is no table {path}. `python -m voco_lite benchmark` writes one.")
    if path.stat().st_size > _LARGEST_FILE:
        raise ValueError(f"{path} must be at most {_LARGEST_FILE:,} bytes, got more. Give the CSV of a benchmark.")
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream)
        try:
            head, *rows = [(reader.line_num, texts) for texts in reader] or [(1, [])]
        except (csv.Error, UnicodeDecodeError) as error:
            where = f"{path}, after line {reader.line_num},"
            raise ValueError(f"{where} must be a row of a CSV file in UTF-8, got: {error}. Make it anew.") from error
    if tuple(head[1]) != names:
        raise ValueError(
            f"{path} must have the columns {', '.join(names)}, got {', '.join(head[1])[:200]}. Give the CSV of a benchmark, "
            "or make it anew with --report."
        )
    return [_row(kind, texts, f"{path}, line {line}") for line, texts in rows]


def column_names(kind: type) -> tuple[str, ...]:
    """Names of the fields of a dataclass."""
    return tuple(field.name for field in fields(kind))


def _row(kind: type[Row], texts: Sequence[str], where: str) -> Row:
    kinds = [_KINDS[str(field.type)] for field in fields(kind)]  # type: ignore[arg-type]
    try:
        return kind(*(read(text) for read, text in zip(kinds, texts, strict=True)))
    except ValueError as error:
        told = ", ".join(column_names(kind))
        raise ValueError(f"{where} must be {told}, got {texts} ({error}). Run that cell anew.") from error
