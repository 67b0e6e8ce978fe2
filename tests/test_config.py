"""Configurations: presets, changes, storage, errors."""

import dataclasses
import json
import math

import pytest

from voco_lite.config import PRESETS, CropConfig, ObjectiveConfig, PretrainConfig, TrainConfig, VolumeConfig
from voco_lite.objectives import Objective, objective


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json(name):
    config = PretrainConfig.preset(name)
    assert PretrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_preset_changes_single_fields():
    config = PretrainConfig.preset("laptop", steps=7, seed=3)
    assert (config.train.steps, config.train.seed) == (7, 3)
    assert config.crops == PRESETS["laptop"].crops


def test_published_settings_of_the_2025_code():
    config = PretrainConfig.preset("tpami25-B")
    assert (config.crops.cells, config.crops.crop_size, config.crops.random_crops) == ((3, 3, 1), (64, 64, 64), 2)
    assert (config.train.steps, config.train.learning_rate, config.train.warmup_steps) == (2_000_000, 1e-4, 5000)
    assert (config.train.amsgrad, config.train.weight_decay, config.train.clip_norm) == (True, 0.01, None)
    assert (config.objective.projector_dim, config.objective.momentum, config.objective.dropout) == (1024, 0.9, 0.2)


def test_published_settings_of_the_2024_code():
    config = PretrainConfig.preset("cvpr24")
    assert (config.volume.size, config.volume.foreground) == ((384, 384, 96), 0.3)
    assert (config.crops.cells, config.crops.crop_size, config.crops.network_size) == ((4, 4, 1), (96,) * 3, (64,) * 3)
    assert (config.crops.shift_probability, config.objective.projector_dim, config.train.steps) == (0.1, 2048, 250_000)


def test_official_mode_brings_the_released_data_rules():
    config = PretrainConfig.preset("tpami25-B", mode="official")
    assert config.crops.open_border and config.crops.official_odd and not config.crops.seeded
    assert not config.train.drop_last and not config.train.reshuffle and config.train.start_at_zero


@pytest.mark.parametrize("preset", ["laptop", "tpami25-B"])
def test_official_mode_brings_the_same_rules_however_it_is_asked_for(preset):
    wanted = PretrainConfig.preset(preset, mode="official")
    assert PretrainConfig.preset(preset, objective__mode="official") == wanted
    assert PretrainConfig.preset(preset).changed(mode="official") == wanted


def test_a_field_changed_by_name_outweighs_the_released_rule():
    config = PretrainConfig.preset("ci").changed(mode="official", merging="current", drop_last=True)
    assert config.encoder.merging == "current" and config.train.drop_last and config.crops.open_border


def test_official_mode_keeps_what_a_later_change_asks_for():
    config = PretrainConfig.preset("ci", mode="official").changed(merging="current").changed(mode="official")
    assert config.encoder.merging == "current"


@pytest.mark.parametrize(("name", "reshuffle", "synchronized"), [("tpami25", False, False), ("cvpr24", True, True)])
def test_official_order_and_batch_statistics_are_those_of_the_objectives_own_code(name, reshuffle, synchronized):
    config = PretrainConfig.preset("ci", objective__name=name, mode="official")
    assert (config.train.reshuffle, config.objective.synchronized) == (reshuffle, synchronized)


def test_official_mode_takes_the_released_merging_order():
    assert PretrainConfig.preset("tpami25-B", mode="official").encoder.merging == "legacy"
    assert PretrainConfig.preset("tpami25-B").encoder.merging == "current"


def test_a_change_named_after_two_parts_asks_which():
    with pytest.raises(ValueError, match="encoder and objective.*encoder__name"):
        PretrainConfig().changed(name="swin-b")


def test_a_change_may_name_its_part():
    assert PretrainConfig().changed(objective__name="cvpr24").objective.name == "cvpr24"


def test_an_unknown_change_lists_the_fields():
    with pytest.raises(ValueError, match="'step' is no field.*steps"):
        PretrainConfig().changed(step=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"mode": "offical"}, "config.objective.mode must be one of"), ({"steps": 2.5}, "config.train.steps must be int")],
    ids=str,
)
def test_a_change_to_a_value_of_the_wrong_type_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        PretrainConfig().changed(**change)


def test_an_unknown_preset_lists_the_presets():
    with pytest.raises(ValueError, match="laptop"):
        PretrainConfig.preset("lap top")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainConfig(steps=0), "steps must be at least 1, got 0"),
        (lambda: TrainConfig(log_every=0), "log_every must be at least 1"),
        (lambda: TrainConfig(learning_rate=0.0), "learning_rate must be positive"),
        (lambda: TrainConfig(gauge_every=-1), "gauge_every must be at least 0"),
        (lambda: CropConfig(crop_size=(0, 4, 4)), "crop_size must be three sizes"),
        (lambda: CropConfig(flip_probability=1.5), r"flip_probability must lie in \[0, 1\]"),
        (lambda: CropConfig(random_crops=0), "random_crops must be at least 1"),
        (lambda: VolumeConfig(spacing=(1.0, -1.0, 1.0)), "spacing must be three positive sizes in mm"),
        (lambda: VolumeConfig((250.0, -175.0)), "two numbers from low to high, got"),
        (lambda: VolumeConfig((0.0, math.inf)), "two numbers from low to high, got"),
        (lambda: ObjectiveConfig(momentum=1.0), r"momentum must lie in \[0, 1\)"),
        (lambda: ObjectiveConfig(projector_dim=0), "projector_dim must be at least 1, got 0"),
    ],
)
def test_a_value_out_of_range_says_what_is_allowed(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trian": {}}, "unknown fields.*trian"),
        ({"train": {"steps": "10"}}, "config.train.steps must be int, got '10'"),
        ({"train": {"steps": True}}, "config.train.steps must be int"),
        ({"train": 3}, "config.train must be a table"),
        ({"objective": {"mode": "offical"}}, "config.objective.mode must be one of"),
        ({"crops": {"cells": [3, 3]}}, "config.crops.cells must be 3 numbers"),
        ({"volume": {"intensity": "ct-abdomn"}}, r"config.volume.intensity must be one of \['ct-abdomen'"),
        ({"volume": {"intensity": [0.0, 600.0, 1.0]}}, "config.volume.intensity must be 2 numbers"),
    ],
)
def test_a_stored_configuration_is_checked(values, message):
    with pytest.raises(ValueError, match=message):
        PretrainConfig.from_dict(values)


def test_a_window_of_two_numbers_survives_json():
    config = PretrainConfig.preset("laptop", intensity=(0, 600))
    assert PretrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.volume.intensity == (0.0, 600.0)


def test_a_whole_number_is_a_fine_float():
    assert PretrainConfig.from_dict({"train": {"learning_rate": 1}}).train.learning_rate == 1.0


def test_configurations_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PretrainConfig().train.steps = 3  # type: ignore[misc]


def test_default_mode_repairs_only_what_its_table_names():
    official, default = objective("tpami25", "official"), objective("tpami25")
    changed = {f.name for f in dataclasses.fields(Objective) if getattr(official, f.name) != getattr(default, f.name)}
    assert changed == {
        "teacher_start", "teacher_update", "lone_volume", "feature_dropout", "dropout_update",
        "regularization_gradient", "label_dtype",
    }  # fmt: skip


def test_an_unknown_objective_lists_the_known():
    with pytest.raises(ValueError, match="tpami25.*cvpr24"):
        objective("voco")  # type: ignore[arg-type]
