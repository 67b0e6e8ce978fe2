"""A protocol that trains nothing worth while, and runners that train nothing at all."""

from __future__ import annotations

import json

from voco_lite.benchmark.planning import fit_folder, plan_cells
from voco_lite.benchmark.protocol import build_protocol
from voco_lite.checkpoints import FINAL

SUBJECTS = [f"subject {n}" for n in range(8)]
TRAIN = {"batch_size": 2, "gauge_every": 2, "log_every": 1, "warmup_steps": 0, "device": "cpu", "precision": "fp32"}


def table(*more, split=None, **changes):
    """A protocol with two conditions of two steps, and further ones, as its plain table; changes are of its settings."""
    learns_labels = changes.get("task") != "registration"
    settings = {"preset": "ci", "source": "phantom", "subjects": 10, "organs": ["liver"], "patch_size": [16, 16, 16]}
    conditions = [
        {"name": "voco", "pretraining_steps": 1, "finetuning_steps": 2, "settings": {"start": "pretrained"}},
        {"name": "scratch", "finetuning_steps": 2},
        *more,
    ]
    return {
        "name": "tiny",
        "metric": "dice" if learns_labels else "target error, mm",
        "higher_is_better": learns_labels,
        "labelled": [1],
        "pretraining_seeds": [0, 1, 2],
        "finetuning_seeds": [0],
        "comparisons": [["voco", "scratch"]],
        "split": split or {"validation": 1, "test": 5},
        "settings": {**settings, "train": TRAIN, **changes},
        "conditions": conditions,
    }


def tiny(*more, **changes):
    return build_protocol(table(*more, **changes))


def condition(settings, **fields):
    return {"name": "other", "finetuning_steps": 2, "settings": settings, **fields}


def curve(folder, scores):
    folder.mkdir(parents=True)
    records = [json.dumps({"step": 10 * n, "validation/score": s}) + "\n" for n, s in enumerate(scores, start=1)]
    (folder / "log.jsonl").write_text("".join(records))
    (folder / FINAL).touch()


def fake(cell):
    """Dice of a run that trains nothing: pre-training is worth 0.3."""
    gain = 0.3 * (cell.condition.pretraining_steps > 0) + 0.01 * cell.pretraining_seed
    return {"dice": {name: 0.4 + gain + 0.01 * (int(name[-1]) % 3) for name in cell.scored}}


def fake_fits(place, protocol):
    """Logs: the pre-trained runs get to 0.5 twice as fast."""
    for cell in plan_cells(protocol, protocol.assign(SUBJECTS), "test"):
        scores = (0.25, 0.5, 0.5, 0.5) if cell.condition.pretraining_steps else (0.0, 0.25, 0.375, 0.5)
        curve(fit_folder(place, cell, 0), scores)


def noisy(cell):
    scores = fake(cell)["dice"]
    return {"dice": {name: score + 0.002 * (hash_of(cell, name) % 7) for name, score in scores.items()}}


def hash_of(cell, name):
    return sum(map(ord, cell.condition.name + name)) * (cell.pretraining_seed + 3)
