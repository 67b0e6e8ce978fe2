"""Volumes that cannot be used: left out, said once each, summed up at the end."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from voco_lite.checkpoints import write_text
from voco_lite.train.history import LEFT_OUT, History, read_left_out

if TYPE_CHECKING:
    from accelerate import Accelerator

    from voco_lite.volumes import Volume


class LeftOut:
    """Collects what the loader and the held-out gauges could not use, over all processes, into a history.

    Args:
        accelerator: Of the run.
        history: Gets source and reason of each in `left_out`.
    """

    def __init__(self, accelerator: Accelerator, history: History) -> None:
        self.accelerator, self.history = accelerator, history

    def resume(self) -> None:
        """Remember what earlier parts of the run left out."""
        if self.history.run_folder is not None:
            self.history.left_out |= read_left_out(self.history.run_folder)

    def add(self, found: Mapping[str, str]) -> None:
        """Note volumes; warn once about each."""
        for source, reason in found.items():
            if source not in self.history.left_out:
                self.history.left_out[source] = reason
                warnings.warn(f"A volume that cannot be used is left out. {reason}", stacklevel=2)

    def store(self) -> None:
        """Gather from all processes, and write the list beside the log."""
        from accelerate.utils import gather_object

        for found in gather_object([self.history.left_out]):
            self.history.left_out |= found
        folder = self.history.run_folder
        if folder is not None and self.history.left_out and self.accelerator.is_main_process:
            write_text(folder / LEFT_OUT, json.dumps(self.history.left_out, indent=2) + "\n")

    def sum_up(self) -> None:
        """Warn how many volumes were left out, if any."""
        count = len(self.history.left_out)
        if count and self.accelerator.is_main_process:
            place = f" ({LEFT_OUT} in the run folder)" if self.history.run_folder is not None else ""
            warnings.warn(
                f"{count} volume(s) could not be used and were left out; `history.left_out` says why{place}.",
                stacklevel=2,
            )


def usable(volumes: Sequence[Volume], left_out: LeftOut) -> Sequence[Volume]:
    """The volumes that can be read; those that lie in memory need no look."""
    from voco_lite.volumes import VolumeFolder

    if not isinstance(volumes, VolumeFolder):
        return volumes
    kept, broken = volumes.checked()
    left_out.add(broken)
    return kept
