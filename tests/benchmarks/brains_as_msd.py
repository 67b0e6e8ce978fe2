"""Brain scans of the MICCAI 2012 challenge in MSD layout, each person once: what the protocols on brains read.

    python tests/benchmarks/brains_as_msd.py FOLDER OUT
    python -m voco_lite benchmark screen-brain --data OUT

FOLDER holds `*_t1.nii.gz` and `*_labels.nii.gz`, `label_information.csv` (number, name, class) and `subjects.csv`, whose
notes mark a person's second scan. The scans come from OASIS, the labels from Neuromorphometrics, Inc. under academic
subscription; both are CC BY-NC and no part of this project.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path


def main() -> None:
    """Copy the scans, and say what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    names = {"0": "background"}
    for number, name, _ in list(csv.reader((arguments.folder / "label_information.csv").open()))[1:]:
        if name not in names.values():
            names[number] = name
    people = [row for row in csv.DictReader((arguments.folder / "subjects.csv").open()) if row["Notes"] != "2nd Scan"]
    cases = []
    for part in ("imagesTr", "labelsTr"):
        (arguments.out / part).mkdir(parents=True, exist_ok=True)
    for person in sorted(people, key=lambda row: row["id"]):
        case = {"image": f"imagesTr/{person['id']}.nii.gz", "label": f"labelsTr/{person['id']}.nii.gz"}
        shutil.copyfile(arguments.folder / f"{person['id']}_t1.nii.gz", arguments.out / case["image"])
        shutil.copyfile(arguments.folder / f"{person['id']}_labels.nii.gz", arguments.out / case["label"])
        cases.append(case)
    content = {"name": "MICCAI 2012 brains", "modality": {"0": "MRI"}, "labels": names, "training": cases}
    (arguments.out / "dataset.json").write_text(json.dumps({**content, "licence": "CC BY-NC"}, indent=1) + "\n")
    print(f"{len(cases)} people in {arguments.out}")


if __name__ == "__main__":
    main()
