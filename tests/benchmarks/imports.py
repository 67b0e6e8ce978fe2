"""`import voco_lite` against `import torch`, each in a fresh process.

python tests/benchmarks/imports.py [--rounds 9]
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from rounds import measure, print_table


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()

    def importing(statement: str) -> object:
        return lambda _: subprocess.run([sys.executable, "-c", statement], check=True)

    names = "VoCo, VoCoDataset, PretrainConfig, pretrain, load_volume, position_labels"
    sides = {
        "import torch": importing("import torch"),
        "import voco_lite": importing("import torch, voco_lite"),
        "and everything a run needs": importing(f"from voco_lite import {names}"),
    }
    print_table(measure(sides, arguments.rounds, warm_up=1), "import torch")  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
