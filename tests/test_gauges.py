"""The gauges: levels against closed forms, collapse measures, held-out accuracy, and verdicts of injected faults."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from voco_lite.config import CropConfig, PretrainConfig
from voco_lite.dataset import VoCoDataset
from voco_lite.gauges import HeldOut, effective_rank, levels, measure_held_out, position_top1, spread, verdict
from voco_lite.model import VoCo
from voco_lite.objectives import objective
from voco_lite.train import pretrain

PUBLISHED_2025 = CropConfig(cells=(3, 3, 1), crop_size=(64, 64, 64))
PUBLISHED_2024 = CropConfig(cells=(4, 4, 1), crop_size=(96, 96, 96))


def volumes(n, seed=0, size=(48, 48, 20)):
    """Two channels that say where a voxel lies along x and y, with noise."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.stack(torch.meshgrid(*(torch.linspace(0, 1, length) for length in size), indexing="ij")[:2])
    return [
        SimpleNamespace(data=place + 0.05 * torch.rand(2, *size, generator=generator), source=str(i)) for i in range(n)
    ]


def held_out(**changes):
    return replace(HeldOut(0.9, 0.5, 0.4, 0.16, 0.36, 30.0, 0.7), **changes)


# Levels


def test_levels_of_the_2025_grid():
    found = levels(PUBLISHED_2025)
    assert abs(found.oracle) < 1e-5
    assert found.orthogonal == pytest.approx(0.714, abs=0.02)
    assert found.best_constant == pytest.approx(0.58, abs=0.02)
    assert found.with_regularization["collapse"] == pytest.approx(15.8, abs=0.05)


def test_levels_of_the_2024_grid():
    found = levels(PUBLISHED_2024, objective("cvpr24")).with_regularization
    assert found["orthogonal"] == pytest.approx(0.72, abs=0.02)
    assert found["best_constant"] == pytest.approx(0.43, abs=0.02)
    assert found["collapse"] == pytest.approx(3.0, abs=0.05)


def test_collapse_costs_the_entropy_of_the_labels_and_a_full_negative_term():
    one_cell_touched = CropConfig(cells=(1, 2, 1), crop_size=(4, 4, 4), random_size=(4, 8, 4))
    found = levels(one_cell_touched)  # the only random crop lies half in each cell
    assert found.collapse == pytest.approx(0.6931, abs=1e-3)
    assert found.orthogonal == pytest.approx(0.6931, abs=1e-3)
    assert found.best_constant == pytest.approx(0, abs=1e-3)


# Collapse


def test_effective_rank_counts_equal_directions():
    corners = torch.cat([torch.eye(5), -torch.eye(5)])
    assert effective_rank(corners) == pytest.approx(5)


def test_effective_rank_of_equal_embeddings_is_one():
    assert effective_rank(torch.ones(6, 4)) == 1.0


def test_spread_is_one_for_orthogonal_and_zero_for_parallel_embeddings():
    assert spread(3 * torch.eye(4)) == pytest.approx(1)
    assert spread(torch.ones(4, 3) * torch.arange(1.0, 5)[:, None]) == pytest.approx(0, abs=1e-12)


# Position accuracy


def test_a_choice_counts_within_the_tolerance_of_the_largest_overlap():
    labels = torch.tensor([[0.5, 0.4, 0.1], [0.5, 0.3, 0.2]])
    assert position_top1(torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), labels) == 0.5
    assert position_top1(labels, labels) == 1.0


def ideal(config):
    """A model whose embedding is a soft code of where a crop's middle lies."""
    model = VoCo(config, in_channels=2)

    def project(crops, teacher=True):
        x, y = (torch.exp(-((c[:, None] - torch.linspace(0, 1, 12)) ** 2) / 0.02) for c in crops.mean((2, 3, 4)).T)
        return (x[:, :, None] * y[:, None, :]).flatten(1)

    model.project = project
    return model


def test_a_model_that_knows_places_is_right_within_and_across_subjects():
    config = PretrainConfig.preset("ci")
    found = measure_held_out(ideal(config), volumes(5), config.crops, batches=10)
    assert found.top1 > 0.9 and found.top1_across > 0.9
    assert found.chance < 0.25 < found.fixed_cell < 0.5


def test_a_model_that_cannot_see_is_near_a_fixed_cell():
    config = PretrainConfig.preset("ci")
    model = VoCo(config, 2)
    model.project = lambda crops, teacher=True: torch.ones(len(crops), 4)
    found = measure_held_out(model, volumes(4), config.crops, batches=10)
    assert found.top1 <= found.fixed_cell + 0.02 and found.spread < 1e-6


def test_measuring_is_repeatable_and_leaves_the_model_as_it_was():
    config = PretrainConfig.preset("ci")
    model = VoCo(config, 2).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, again = (measure_held_out(model, volumes(3), config.crops, batches=3) for _ in range(2))
    assert first == again and model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_single_volume_has_no_accuracy_across_subjects():
    config = PretrainConfig.preset("ci")
    assert measure_held_out(VoCo(config, 2), volumes(1), config.crops, batches=2).top1_across is None


def test_no_held_out_volume_is_explained():
    config = PretrainConfig.preset("ci")
    with pytest.raises(ValueError, match="at least one, got none"):
        measure_held_out(VoCo(config), [], config.crops)


# Verdicts


@pytest.mark.parametrize(
    ("last", "kind", "words"),
    [
        ({"intra_loss": 0.3, "top1": 0.8}, "learning", "learning"),
        ({"intra_loss": 0.92, "top1": 0.5}, "plateau", "stuck at the orthogonal plateau"),
        ({"intra_loss": 14.0, "top1": 0.3, "spread": 0.001}, "collapsed", "collapsed"),
        ({"intra_loss": 0.63, "top1": 0.4, "spread": 0.6}, "plateau", "hardly moving"),
        ({"intra_loss": 0.6, "top1": 0.4, "spread": 0.92}, "disagree", "labels and crops disagree"),
        ({"intra_loss": 0.35, "top1": 0.52}, "unclear", "unclear"),
    ],
)
def test_verdicts(last, kind, words):
    found = verdict(held_out(), held_out(**last), levels(PUBLISHED_2025))
    assert found.kind == kind and str(found).startswith(words)


def run_with(**changes):
    """The verdict on a short run in which one thing is broken."""
    from tiny_run import tiny_config, tiny_volumes

    settings = {"steps": 120, "batch_size": 4, "random_crops": 4, "learning_rate": 3e-3, "log_every": 120} | changes
    config = tiny_config(**settings)
    model, data = VoCo(config), VoCoDataset(tiny_volumes(6), config.crops)
    history = pretrain(model, data, config.train, held_out=tiny_volumes(4, first=100))
    return verdict(history.first_held_out, history.last_held_out, levels(config.crops, model.objective))


@pytest.mark.parametrize(
    ("kind", "faults"),
    [
        ("learning", {}),
        ("plateau", {"learning_rate": 1e-9}),
        (
            "collapsed",
            {"intra_weight": 0.0, "inter_weight": 0.0, "regularization_weight": -100.0, "learning_rate": 1e-2},
        ),
    ],
)
def test_a_fault_that_was_put_into_a_run_is_named(kind, faults):
    assert run_with(**faults).kind == kind
