"""Time and memory of every notebook, each in a process of its own.

    python tests/benchmarks/notebook_costs.py [--size laptop] [NAME ...]

Prints minutes of wall time and the largest resident size of the kernel or of what it started, in GiB.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time

from rounds import machine

from voco_lite import notebooks

CODE = """
import sys
from voco_lite import notebooks
notebooks.run(sys.argv[1], {"SIZE": sys.argv[2]}, sys.argv[3], progress=False)
"""


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[])
    parser.add_argument("--size", default="laptop")
    arguments = parser.parse_args()
    print(f"{machine()}, size {arguments.size}")
    for name in arguments.names or notebooks.names():
        with tempfile.TemporaryDirectory() as folder:
            # The largest child so far is all that the system tells: one process per notebook keeps them apart.
            script = [sys.executable, __file__, "--child", name, arguments.size, folder]
            print(
                subprocess.run(script, check=True, capture_output=True, text=True).stdout.splitlines()[-1], flush=True
            )


def child(name: str, size: str, folder: str) -> None:
    """Run one notebook and print its costs."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", CODE, name, size, folder], check=True, stdout=subprocess.DEVNULL)
    minutes = (time.perf_counter() - began) / 60
    gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{name:36s} {minutes:5.1f} min  {gib:4.1f} GiB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
