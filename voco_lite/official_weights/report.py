"""What became of every tensor when weights were loaded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from voco_lite.official_weights.known import KNOWN_FILES, origin

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Mismatch:
    """A tensor that both sides have in different shapes."""

    name: str
    own: Shape
    file: Shape


@dataclass(frozen=True)
class LoadReport:
    """What was loaded and what was not; print it.

    Attributes:
        file: The file that was read.
        identity: Name of the released file that it is by its digest; None: it is none of them.
        sha256: Digest of the file.
        encoder_tensors: Tensors that the encoder has.
        loaded: Names that were copied.
        inflated: Those among them whose input channels were repeated.
        missing: Names of the model that the file lacks, which keep their values.
        mismatched: Names of both in different shapes, which keep their values.
        ignored: Names of the file that the model lacks.
        merging: Patch merging after loading; None: the encoder has none.
        notes: Why something was not loaded, and what to know.
    """

    file: Path
    identity: str | None
    sha256: str
    encoder_tensors: int
    loaded: tuple[str, ...]
    inflated: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[Mismatch, ...]
    ignored: tuple[str, ...]
    merging: str | None
    notes: tuple[str, ...]

    def __str__(self) -> str:
        known = KNOWN_FILES.get(self.identity) if self.identity else None
        lines = [f"{self.file.name} ({origin(self.file, known)}, SHA-256 {self.sha256[:12]}…)"]
        lines.append(f"  loaded      {len(self.loaded)} tensors; the encoder has {self.encoder_tensors}")
        for label, names in (("inflated", self.inflated), ("missing", self.missing), ("ignored", self.ignored)):
            if names:
                lines.append(f"  {label:11s} {len(names)} tensors: {_by_module(names)}")
        for one in self.mismatched:
            lines.append(f"  mismatched  {one.name}: model {one.own}, file {one.file}")
        if self.merging:
            lines.append(f"  merging     {self.merging}")
        return "\n".join([*lines, *(f"  note        {note}" for note in self.notes)])


def _by_module(names: tuple[str, ...]) -> str:
    """Names counted by their first part."""
    counts = Counter(name.split(".")[0] for name in names)
    return ", ".join(f"{module} ({count})" for module, count in counts.items())
