"""Run the checks and tests in parts: `python tests/run_parts.py [PART ...]`; what `make test` does.

Every part runs, whatever the parts before it said; the time of each is printed, and the names of all failures stand
at the end. Exit code 1 where anything failed, 2 for an unknown part.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("lint", "default", "notebook", "browser", "slow", "gpu")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
REQUIRE_BROWSER = "VOCO_REQUIRE_BROWSER"
_NO_TESTS = 5  # pytest's exit code
_SLOW_TIMEOUT_S = 3000  # of one test


@dataclass
class Outcome:
    """What came of a part.

    Attributes:
        passed, skipped: Numbers of checks or tests.
        failed: Names of those that failed.
        note: Why the part did not run, if it did not.
        seconds: Wall time.
    """

    passed: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    note: str = ""
    seconds: float = 0.0


def lint() -> Outcome:
    """Style, format and types."""
    tools = {
        "ruff check": ["ruff", "check", "."],
        "ruff format": ["ruff", "format", "--check", "."],
        "mypy": ["mypy"],
    }
    codes = {name: _call([sys.executable, "-m", *command]) for name, command in tools.items()}
    failed = [f"{name} (exit code {code})" for name, code in codes.items() if code]
    return Outcome(passed=len(codes) - len(failed), failed=failed)


def tests(part: str) -> Outcome:
    """The tests of a marker; `default` are those without any."""
    markers = [] if part == "default" else ["-m", part]
    if part == "slow":
        markers += ["--timeout", str(_SLOW_TIMEOUT_S)]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--durations=5", f"--junitxml={report}", *markers]
        code = _call(command)
        return outcome(report, code)


def outcome(report: Path, code: int) -> Outcome:
    """Read pytest's JUnit report; a run that died without one has failed as a whole."""
    if code == _NO_TESTS:
        return Outcome(note="no tests")
    found = Outcome()
    for case in _cases(report):
        kinds = {child.tag for child in case}
        name = f"{case.get('file') or case.get('classname')}::{case.get('name')}"
        if kinds & {"failure", "error"}:
            found.failed.append(name)
        elif "skipped" in kinds:
            found.skipped += 1
        else:
            found.passed += 1
    if code and not found.failed:
        found.failed.append(f"pytest ended with exit code {code}")
    return found


def _cases(report: Path) -> list[ElementTree.Element]:
    """The tests of a report; none where it is absent or was cut off."""
    try:
        return list(ElementTree.parse(report).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return []


def browser() -> Outcome:
    """The browser tests; without Chromium a loud line, or a failure where `VOCO_REQUIRE_BROWSER` is set."""
    if any(shutil.which(name) for name in BROWSERS):
        return tests("browser")
    listing = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "browser"]
    if _call(listing, quiet=True) == _NO_TESTS:
        return Outcome(note="no tests")
    missing = "Chromium is absent: the browser tests did NOT run"
    return Outcome(failed=[missing]) if os.environ.get(REQUIRE_BROWSER) else Outcome(note=missing)


def gpu() -> Outcome:
    """The tests that need CUDA."""
    import torch

    return tests("gpu") if torch.cuda.is_available() else Outcome(note="no CUDA here")


def _call(command: list[str], quiet: bool = False) -> int:
    # Threads that spin while they wait take the cores from the processes that a test starts.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"} | os.environ
    stdout = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=stdout, check=False).returncode


def run(part: str) -> Outcome:
    """One part, with its time."""
    print(f"\n===== {part} =====", flush=True)
    began = time.perf_counter()
    special = {"lint": lint, "browser": browser, "gpu": gpu}
    found = special[part]() if part in special else tests(part)
    found.seconds = time.perf_counter() - began
    return found


def summary(outcomes: dict[str, Outcome]) -> str:
    """A line for each part, every failure, and the totals."""
    lines = ["", "part        seconds  passed  failed  skipped"]
    for part, found in outcomes.items():
        counts = f"{found.passed:>8}{len(found.failed):>8}{found.skipped:>9}"
        lines.append(f"{part:<10}{found.seconds:>9.1f}{counts}  {found.note}".rstrip())
    lines += [f"FAILED {part}: {name}" for part, found in outcomes.items() for name in found.failed]
    lines += [f"NOTE {part}: {found.note}" for part, found in outcomes.items() if found.note]
    totals = (sum(o.passed for o in outcomes.values()), sum(len(o.failed) for o in outcomes.values()))
    return "\n".join(
        [*lines, f"{totals[0]} passed, {totals[1]} failed, {sum(o.skipped for o in outcomes.values())} skipped"]
    )


def main(parts: list[str]) -> int:
    """Run the parts, all of them by default."""
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        print(f"error: a part must be one of {', '.join(PARTS)}, got {', '.join(unknown)}.", file=sys.stderr)
        return 2
    outcomes = {part: run(part) for part in parts or PARTS}
    print(summary(outcomes), flush=True)
    return int(any(found.failed for found in outcomes.values()))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
