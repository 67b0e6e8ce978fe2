"""The benchmark of registration, at tiny size."""

from dataclasses import replace

import pytest

from tiny_benchmark import condition, tiny
from voco_lite.benchmark.conditions import plan_conditions
from voco_lite.benchmark.planning import plan_cells
from voco_lite.benchmark.runners import open_runner
from voco_lite.downstream.affine import no_displacement, register_affine
from voco_lite.downstream.registrar import examine


@pytest.fixture(scope="module")
def registrations(tmp_path_factory):
    """Scores of every condition of a registration, by its name."""
    affine = {**condition({"head": "affine"}, reference=True), "name": "affine"}
    identity = {**condition({"head": "identity"}, reference=True), "name": "identity"}
    protocol = tiny(
        affine,
        identity,
        task="registration",
        volume={"size": [32, 32, 32]},
        split={"validation": 2, "test": 5},
        subjects=12,
    )
    protocol = replace(protocol, labelled=(2,))
    runner = open_runner(protocol, tmp_path_factory.mktemp("registration"))
    cells = plan_cells(protocol, protocol.assign(list(runner.subjects)), "validation")
    return runner, {cell.condition.name: (cell, runner(cell)) for cell in cells if cell.pretraining_seed == 0}


def test_registration_scores_each_fixed_subject_by_error_and_overlap(registrations):
    for cell, scores in registrations[1].values():
        assert set(scores) == {"target error, mm", "dice", "folded share"}
        assert all(set(by_subject) == set(cell.scored) for by_subject in scores.values())
        assert all(error > 0 for error in scores["target error, mm"].values())


def test_an_affine_map_needs_no_network(registrations):
    runner, found = registrations
    for name, way in {"affine": register_affine, "identity": no_displacement}.items():
        cell, scores = found[name]
        by_hand = examine({name: way}, [runner.subjects[subject] for subject in cell.scored], ["liver"])
        assert list(scores["target error, mm"].values()) == [row.target_mm for row in by_hand.rows]
        assert not any(scores["folded share"].values())
    scores = found["affine"][1]
    # Two steps from a network that adds nothing change little, but something.
    assert found["scratch"][1] != scores
    assert all(
        abs(found["scratch"][1]["target error, mm"][name] - error) < 3
        for name, error in scores["target error, mm"].items()
    )


@pytest.mark.parametrize("settings", [{"head": "ridge"}, {"start": "coordinates"}, {"labels": "all"}])
def test_registration_refuses_what_only_segmentation_has(settings):
    with pytest.raises(ValueError, match="something that registration knows"):
        plan_conditions(tiny(condition(settings, reference=True), task="registration"))
