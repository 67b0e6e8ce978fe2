"""From device scalars to records, files, TensorBoard and the progress bar."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from voco_lite.train.history import History, append_record

if TYPE_CHECKING:
    from accelerate import Accelerator

_MOST_NAMES = 64


class Meter:
    """Means of scalars since the last record; summed on the device and read in one transfer."""

    def __init__(self, device: torch.device) -> None:
        # Counts lie beside their sums, so that what puts back the sums of an earlier step puts back both.
        self.sums = torch.zeros(2, _MOST_NAMES, dtype=torch.float64, device=device)
        self.names: list[str] = []

    def add(self, scalars: Mapping[str, Tensor]) -> None:
        """Add one value of each name, without waiting for the device."""
        self.names += [name for name in scalars if name not in self.names]
        values = torch.stack([value.detach().to(self.sums.dtype).reshape(()) for value in scalars.values()])
        slots = [self.names.index(name) for name in scalars]
        contiguous = slots == list(range(slots[0], slots[0] + len(slots)))
        self.sums[:, slice(slots[0], slots[-1] + 1) if contiguous else slots] += torch.stack(
            [values, torch.ones_like(values)]
        )

    def read(self, accelerator: Accelerator) -> dict[str, float]:
        """The means, over all processes, and a fresh start."""
        sums = self.sums if accelerator.num_processes == 1 else accelerator.reduce(self.sums.clone(), "mean")
        values, counts = sums[:, : len(self.names)].tolist()
        means = {n: v / c for n, v, c in zip(self.names, values, counts, strict=True) if c}
        self.sums.zero_()
        return means

    def state(self, accelerator: Accelerator) -> dict[str, Any]:
        """What a checkpoint stores, when it falls between two records: the sums of all processes, averaged."""
        sums = self.sums if accelerator.num_processes == 1 else accelerator.reduce(self.sums.clone(), "mean")
        return {"sums": sums.cpu(), "names": list(self.names)}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.sums.copy_(state["sums"])
        self.names = list(state["names"])


class RunLog:
    """Sends each record to the history, the log file and TensorBoard; on other than the first process, nowhere.

    Args:
        history: Records so far; its `run_folder` says where files go.
        first: The next step.
        writes: Whether this process writes files.
    """

    def __init__(self, history: History, first: int, writes: bool) -> None:
        self.history = history
        self.folder: Path | None = history.run_folder if writes else None
        self._board: Any = None
        if self.folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            # Events from this step on belong to a run that ended early: TensorBoard hides them.
            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=first)

    def write(self, record: dict[str, Any]) -> None:
        """Keep one record."""
        self.history.records.append(record)
        if self.folder is not None:
            append_record(self.folder, record)
            for name, value in record.items():
                if name != "step":
                    self._board.add_scalar(name, value, record["step"])

    def close(self) -> None:
        """Flush TensorBoard."""
        if self._board is not None:
            self._board.close()


@contextmanager
def progress_bar(steps: int, done: int, shown: bool, name: str = "pre-training") -> Iterator[Any]:
    """A text bar with rate, remaining time and the newest loss.

    A text bar looks the same in a terminal, in a notebook, and in a notebook that papermill executes where no front
    end could draw a widget. It is redrawn seldom where what is drawn is kept: in notebooks and log files.
    """
    from tqdm import tqdm

    in_notebook = "ipykernel" in sys.modules
    stream = sys.stdout if in_notebook else sys.stderr
    pause = 0.2 if stream.isatty() else 1.0 if in_notebook else 10.0
    with tqdm(
        total=steps,
        initial=done,
        disable=not shown,
        file=stream,
        mininterval=pause,
        maxinterval=max(10.0, pause),
        desc=name,
        unit="step",
        dynamic_ncols=stream.isatty(),
    ) as bar:
        yield bar
