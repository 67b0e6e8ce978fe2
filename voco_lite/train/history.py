"""What a run has recorded: one plain dict per logged step, in memory and as lines of JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voco_lite.checkpoints import write_text

if TYPE_CHECKING:
    from voco_lite.gauges import HeldOut

LOG = "log.jsonl"
LEFT_OUT = "left_out.json"
HELD_OUT = "held_out/"


@dataclass
class History:
    """The records of a run.

    Attributes:
        records: One dict per logged step: "step" (optimizer steps completed), the loss terms (means since the record
            before), "learning_rate", "gradient_norm", "seconds" (of the whole run so far), and at some steps the
            held-out gauges as "held_out/…". Step 0 holds the held-out gauges before training.
        run_folder: Where the run was written; None: nowhere.
        left_out: Volumes that could not be used: source and reason.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    run_folder: Path | None = None
    left_out: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, run_folder: str | Path) -> History:
        """The history of a run on disk, also of one that still runs.

        Raises:
            FileNotFoundError: The folder has no log.
            ValueError: The log is damaged before its last line.
        """
        return cls(read_log(Path(run_folder)), Path(run_folder), read_left_out(Path(run_folder)))

    def __getitem__(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one entry, such as `history["intra"]`.

        Raises:
            KeyError: No record has that entry.
        """
        found = [(record["step"], record[name]) for record in self.records if name in record]
        if not found:
            raise KeyError(f"{name!r} was never logged. Logged: {', '.join(self.names)}.")
        return [step for step, _ in found], [value for _, value in found]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def names(self) -> list[str]:
        """Every entry that some record has."""
        return sorted({name for record in self.records for name in record})

    @property
    def steps(self) -> int:
        """Optimizer steps completed at the last record."""
        return int(self.records[-1]["step"]) if self.records else 0

    @property
    def first_held_out(self) -> HeldOut | None:
        """The held-out gauges before training, or None where none were measured."""
        return next((_held_out(record) for record in self.records if _has_held_out(record)), None)

    @property
    def last_held_out(self) -> HeldOut | None:
        """The newest held-out gauges, or None where none were measured."""
        return next((_held_out(record) for record in reversed(self.records) if _has_held_out(record)), None)


def _has_held_out(record: dict[str, Any]) -> bool:
    return any(name.startswith(HELD_OUT) for name in record)


def _held_out(record: dict[str, Any]) -> HeldOut:
    from voco_lite.gauges import HeldOut

    found = {k.removeprefix(HELD_OUT): v for k, v in record.items() if k.startswith(HELD_OUT)}
    return HeldOut(**{"top1_across": None, **found})


def read_log(run_folder: Path) -> list[dict[str, Any]]:
    """The records of a run folder's log; a last line that was cut off while being written is left out."""
    path = run_folder / LOG
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}. Give the run folder that `pretrain` wrote.")
    lines = path.read_text(encoding="utf-8").split("\n")
    records = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} line {number} should be a JSON record, got {line[:60]!r}. {error}") from None
    return records


def read_left_out(run_folder: Path) -> dict[str, str]:
    """The volumes that a run had to leave out so far: source and reason.

    Raises:
        ValueError: The file that lists them is damaged.
    """
    path = run_folder / LEFT_OUT
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} should list volumes and reasons, but is damaged ({error}). Delete it.") from None


def append_record(run_folder: Path, record: dict[str, Any]) -> None:
    """Add one line to the log."""
    with (run_folder / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def truncate_log(run_folder: Path, step: int) -> list[dict[str, Any]]:
    """Forget every record after `step`, on disk too, and return those that remain."""
    path = run_folder / LOG
    records = [r for r in read_log(run_folder) if r["step"] <= step] if path.is_file() else []
    write_text(path, "".join(json.dumps(record) + "\n" for record in records))
    return records
