"""Folders of scans: which scans there are, and volumes that are read when they are asked for."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import overload

from voco_lite.config import VolumeConfig
from voco_lite.volumes.cache import as_kept, read_entry, write_entry
from voco_lite.volumes.dicom import is_dicom
from voco_lite.volumes.loading import load_volume
from voco_lite.volumes.scan import ADVICE, NIFTI_ENDINGS
from voco_lite.volumes.volume import Volume

Scans = str | Path | Iterable[str | Path]
_FEW = 4  # scans that need no progress bar


class VolumeFolder(Sequence[Volume]):
    """The volumes of a folder, each read and prepared when it is asked for; opening it reads no scan.

    Args:
        scans: A folder that is searched with all its subfolders, or paths of scans in the order wanted.
        config: How volumes are prepared; None: RAS, in the file's own intensities and spacing.
        pattern: Keep scans whose file name fits this pattern, such as "*_ct.nii.gz".
        cache: Folder for prepared volumes, so that each scan is prepared once, for all that name this folder; prepared
            intensities are rounded to 1/65535. None: prepared anew every time.

    Attributes:
        sources: The `source` of every volume, known without reading it.

    Raises:
        FileNotFoundError: There is no such folder or path.
        ValueError: No scan is found.
    """

    def __init__(
        self,
        scans: Scans,
        config: VolumeConfig | None = None,
        pattern: str | None = None,
        cache: str | Path | None = None,
    ) -> None:
        self.paths = find_scans(scans, pattern)
        self.config, self.cache = config, Path(cache).expanduser() if cache is not None else None
        self.sources = [str(path) for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Volume: ...

    @overload
    def __getitem__(self, index: slice) -> VolumeFolder: ...

    def __getitem__(self, index: int | slice) -> Volume | VolumeFolder:
        """A volume, read now; or the folder's part that a slice names, unread."""
        if isinstance(index, slice):
            part = copy.copy(self)
            part.paths, part.sources = self.paths[index], self.sources[index]
            return part
        path = self.paths[index]
        if self.cache is None or self.config is None:
            return load_volume(path, self.config)
        volume = read_entry(self.cache, path, self.config)
        if volume is None:
            volume = as_kept(load_volume(path, self.config))
            write_entry(self.cache, path, self.config, volume)
        return volume

    def checked(self) -> tuple[VolumeFolder, dict[str, str]]:
        """The part of the folder that can be used, and source and reason of the rest; reads every scan once."""
        kept, broken = [], {}
        for index, source in enumerate(self.sources):
            try:
                self[index]
            except (ValueError, OSError) as error:
                broken[source] = " ".join(str(error).split())
            else:
                kept.append(index)
        part = copy.copy(self)
        part.paths, part.sources = [self.paths[i] for i in kept], [self.sources[i] for i in kept]
        return part, broken

    def __repr__(self) -> str:
        return f"VolumeFolder({len(self)} scans: {', '.join(self.sources[:3])}{' …' if len(self) > 3 else ''})"


def load_volumes(
    scans: Scans, config: VolumeConfig | None = None, pattern: str | None = None, progress: bool = True
) -> list[Volume]:
    """All volumes of a folder at once, in memory; `VolumeFolder` reads large folders volume by volume.

    Args:
        scans: A folder that is searched with all its subfolders, or paths of scans.
        config: How volumes are prepared; None: RAS, in the file's own intensities and spacing.
        pattern: Keep scans whose file name fits this pattern, such as "*_ct.nii.gz".
        progress: Show a progress bar when there are more than a few.

    Raises:
        FileNotFoundError: There is no such folder or path.
        ValueError: No scan is found, or one cannot be used; the message names it.
    """
    from tqdm.auto import tqdm

    folder = VolumeFolder(scans, config, pattern)
    shown = tqdm(folder, desc="scans", unit="scan", disable=not progress or len(folder) <= _FEW, leave=False)
    return list(shown)


def find_scans(scans: Scans, pattern: str | None = None) -> list[Path]:
    """Paths of NIfTI files and folders of DICOM slices, sorted by name; nothing but names is looked at.

    A folder that holds DICOM slices counts as one scan. Hidden files and folders are passed over.

    Raises:
        FileNotFoundError: There is no such folder or path.
        ValueError: No scan is found, or a link leads back into a folder that holds it.
    """
    paths = [Path(scans)] if isinstance(scans, str | Path) else [Path(path) for path in scans]
    paths = [path.expanduser() for path in paths]
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"There is no scan {path}. {ADVICE}")
    search = isinstance(scans, str | Path) and paths[0].is_dir()
    found = sorted(_walk(paths[0])) if search else paths
    if pattern is not None:
        found = [path for path in found if fnmatch(path.name, pattern)]
    if not found:
        fitting = f" that fit {pattern!r}" if pattern else ""
        raise ValueError(f"There must be scans in {scans}, got none{fitting}. {ADVICE}")
    return found


def _walk(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """The scans in a folder and below; links are followed, but not round in a circle."""
    real = os.path.realpath(folder)
    if real in above:
        raise ValueError(f"{folder} is a link that leads back to {real}, which holds it. Delete the link.")
    dicom = False
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = Path(entry.path)
            if path.is_dir():
                yield from _walk(path, (*above, real))
            elif entry.name.lower().endswith(NIFTI_ENDINGS):
                yield path
            elif not dicom and is_dicom(path):
                dicom = True
                yield folder
