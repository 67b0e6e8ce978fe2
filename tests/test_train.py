"""Training: the schedule, the step, the records, the stop at a non-finite loss, and exact resumption."""

import json
import math
import multiprocessing
import random

import numpy as np
import pytest
import torch

from golden_sets import cases
from tiny_run import same_weights, tiny_config, tiny_volumes, trace, train, weights
from voco_lite.checkpoints import load_checkpoint, load_model, step_checkpoints, step_path
from voco_lite.dataset import VoCoDataset
from voco_lite.model import VoCo
from voco_lite.train import History, NonFiniteLossError, pretrain, step_seed, warmup_cosine
from voco_lite.train.hardware import choose_device, choose_precision, cpu_computes_in_bf16

# The schedule


@pytest.mark.parametrize("case", cases("warmup_cosine"))
def test_the_released_schedule_equals_the_released_numbers(case):
    factors = [warmup_cosine(int(s), int(case["in/warmup"]), int(case["in/total"]), True) for s in case["in/steps"]]
    np.testing.assert_allclose(factors, case["out/mult"], atol=1e-9)


def test_the_first_step_of_the_default_warm_up_learns():
    assert warmup_cosine(0, 10, 100) == 0.1 and warmup_cosine(0, 10, 100, start_at_zero=True) == 0


def test_the_warm_up_ends_at_the_peak():
    assert warmup_cosine(9, 10, 100) == 1


def test_the_last_step_still_learns():
    assert 0 < warmup_cosine(99, 10, 100) < 0.01


def test_every_micro_batch_has_a_seed_of_its_own():
    seeds = {step_seed(seed, number) for seed in range(20) for number in range(200)}
    assert len(seeds) == 20 * 200 and all(0 <= seed < 2**63 for seed in seeds)


# What a step does


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 24 steps with a folder; not changed by any test."""
    config = tiny_config(steps=24, checkpoint_every=5, run_folder=str(tmp_path_factory.mktemp("run")))
    model, history = train(config)
    return config, model, history


def test_the_loss_goes_down(finished):
    _, values = finished[2]["total"]
    assert np.mean(values[-6:]) < 0.8 * np.mean(values[:6])


def test_a_seed_decides_a_run():
    (one, first), (other, second) = (train(tiny_config(steps=3)) for _ in range(2))
    assert trace(first) == trace(second) and same_weights(weights(one), weights(other))


def test_another_seed_gives_another_run():
    assert trace(train(tiny_config(steps=1))[1]) != trace(train(tiny_config(steps=1, seed=1))[1])


def test_the_global_generators_are_left_alone():
    before = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())  # noqa: NPY002
    train(tiny_config(steps=2))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1]) and before[2] == random.getstate()  # noqa: NPY002


def test_the_model_is_left_as_it_came_but_trained_and_in_evaluation_mode(finished):
    config, model, _ = finished
    assert type(model) is VoCo and not model.training
    assert list(model.state_dict()) == list(VoCo(config).state_dict())


def test_the_teacher_moves_by_the_moving_average_alone():
    config = tiny_config(steps=1, momentum=0.75)
    start = weights(VoCo(config))["teacher_projector.layer3.0.weight"]
    model, _ = train(config)
    torch.testing.assert_close(model.teacher_projector.layer3[0].weight, start, rtol=1e-5, atol=1e-7)
    assert model.teacher_projector.layer3[0].weight.grad is None


def watch_updates(monkeypatch):
    """The gradients that reach the optimizer, by step."""
    seen = []
    step = torch.optim.AdamW.step

    def watched(self, *args, **keywords):
        seen.append([p.grad.detach().clone() for group in self.param_groups for p in group["params"]])
        return step(self, *args, **keywords)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    return seen


def test_gradients_are_clipped_to_the_norm(monkeypatch):
    seen = watch_updates(monkeypatch)
    train(tiny_config(steps=2, clip_norm=0.01))
    assert all(math.isclose(float(torch.nn.utils.get_total_norm(g)), 0.01, rel_tol=1e-3) for g in seen)


def test_without_clipping_the_logged_norm_is_that_of_the_update(monkeypatch):
    seen = watch_updates(monkeypatch)
    _, history = train(tiny_config(steps=2, clip_norm=None))
    norms = [float(torch.nn.utils.get_total_norm(gradients)) for gradients in seen]
    np.testing.assert_allclose(history["gradient_norm"][1], norms, rtol=1e-5)


def test_accumulated_gradients_are_the_mean_of_their_micro_batches(monkeypatch):
    seen = watch_updates(monkeypatch)
    config = tiny_config(steps=1, accumulation=2, clip_norm=None)
    train(config)
    model = VoCo(config).train()
    dataset = VoCoDataset(tiny_volumes(), config.crops, seed=config.train.seed)
    for number, draws in zip(range(2), draws_of(config), strict=False):
        generator = torch.Generator().manual_seed(step_seed(config.train.seed, number))
        (model(dataset.batch(draws), generator=generator, update_teacher=number == 0).total / 2).backward()
    expected = [p.grad for p in model.parameters() if p.requires_grad]
    for got, wanted in zip(seen[0], expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()) + 1e-6)


def test_the_teacher_moves_once_a_step_whatever_the_accumulation(monkeypatch):
    moved = []
    update = VoCo.update_teacher
    monkeypatch.setattr(VoCo, "update_teacher", lambda self: (moved.append(1), update(self)))
    train(tiny_config(steps=2, accumulation=3))
    assert len(moved) == 2


def draws_of(config):
    from voco_lite.dataset import DrawSampler

    return iter(DrawSampler(4, config.train.batch_size, seed=config.train.seed))


def test_loader_processes_change_nothing():
    assert trace(train(tiny_config(steps=2))[1]) == trace(train(tiny_config(steps=2, workers=2))[1])


def test_compilation_is_asked_for_once_and_of_the_encoder(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: asked.append(module))
    model, _ = train(tiny_config(steps=2, compile=True))
    assert asked == [model.encoder]
    train(tiny_config(steps=1))
    assert len(asked) == 1


def test_loader_processes_end_with_the_run():
    before = set(multiprocessing.active_children())
    train(tiny_config(steps=1, workers=2))
    assert set(multiprocessing.active_children()) <= before


def test_two_runs_of_different_precision_fit_in_one_process():
    if not cpu_computes_in_bf16():
        pytest.skip("this CPU does not compute in bf16")
    _, half = train(tiny_config(steps=1, precision="bf16"))
    _, full = train(tiny_config(steps=1))
    assert math.isclose(half["intra"][1][0], full["intra"][1][0], rel_tol=0.2) and trace(half) != trace(full)


@pytest.mark.parametrize("objective", ["cvpr24", "cvpr24-head"])
@pytest.mark.parametrize("mode", ["default", "official"])
def test_every_objective_trains_in_both_modes(objective, mode):
    _, history = train(tiny_config(steps=2, objective__name=objective, mode=mode, merging="current"))
    assert all(math.isfinite(value) for value in history["total"][1])


def test_more_volumes_in_a_batch_than_there_are_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="batch_size must lie between 1 and the 4 volumes"):
        train(tiny_config(batch_size=5, run_folder=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()


# Device and precision


def test_half_precision_on_a_cpu_is_refused():
    with pytest.raises(ValueError, match='"fp16" needs CUDA'):
        choose_precision("fp16", torch.device("cpu"))


@pytest.mark.parametrize("name", ["gpu", "tpu:0", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(ValueError, match="Use auto"):
        choose_device(name)


def test_precision_auto_follows_the_hardware(monkeypatch):
    import voco_lite.train.hardware as hardware

    for able, wanted in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(hardware, "cpu_computes_in_bf16", lambda able=able: able)
        assert choose_precision("auto", torch.device("cpu")) == wanted


# Records


def test_a_record_holds_the_terms_the_rate_and_the_norm(finished):
    assert {"total", "intra", "inter", "regularization", "learning_rate", "gradient_norm"} <= set(finished[2].names)


def test_the_logged_learning_rate_is_the_schedule(finished):
    config, _, history = finished
    steps, rates = history["learning_rate"]
    wanted = [config.train.learning_rate * warmup_cosine(s - 1, 2, 24) for s in steps]
    assert steps == list(range(1, 25)) and rates == wanted


def test_a_record_holds_the_mean_since_the_record_before():
    _, single = train(tiny_config(steps=4))
    _, pairs = train(tiny_config(steps=4, log_every=2))
    values = single["total"][1]
    np.testing.assert_allclose(pairs["total"][1], [np.mean(values[:2]), np.mean(values[2:])], rtol=1e-12)


def test_the_log_on_disk_is_the_history(finished):
    config, _, history = finished
    assert History.load(config.train.run_folder).records == history.records


def test_the_total_is_the_weighted_sum_of_the_terms(finished):
    for record in finished[2].records:
        parts = record["intra"] + record["inter"] + record["regularization"]
        assert math.isclose(record["total"], parts, rel_tol=1e-5)


def test_a_run_folder_holds_configuration_tensorboard_and_the_final_model(finished):
    config, model, _ = finished
    from pathlib import Path

    folder = Path(config.train.run_folder)
    assert json.loads((folder / "config.json").read_text())["train"]["steps"] == 24
    assert list((folder / "tensorboard").glob("events.*"))
    assert same_weights(weights(load_model(folder)), weights(model))


def test_the_newest_two_checkpoints_are_kept(finished):
    kept = step_checkpoints(finished[0].train.run_folder)
    assert [path.name for path in kept] == ["step-00000020.pt", "step-00000015.pt"]


def test_nothing_is_written_without_a_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(tiny_config(steps=1, checkpoint_every=1))
    assert list(tmp_path.iterdir()) == []


def test_callbacks_see_every_record_and_the_model():
    seen = []
    model, history = train(tiny_config(steps=3), callbacks=[lambda record, model: seen.append((record, model))])
    assert [record for record, _ in seen] == history.records and all(m is model for _, m in seen)


def test_a_callback_that_leaves_the_model_in_evaluation_mode_changes_nothing():
    _, plain = train(tiny_config(steps=3))
    _, watched = train(tiny_config(steps=3), callbacks=[lambda _, model: model.eval()])
    assert trace(plain) == trace(watched)


def test_held_out_gauges_are_measured_before_while_and_after():
    config = tiny_config(steps=3, gauge_every=2)
    _, history = train(config, held_out=tiny_volumes(2, first=10))
    assert history["held_out/intra_loss"][0] == [0, 2, 3]
    assert history.first_held_out.intra_loss == history.records[0]["held_out/intra_loss"]
    assert history.last_held_out.top1 == history.records[-1]["held_out/top1"]


def test_held_out_gauges_change_nothing_in_training():
    _, plain = train(tiny_config(steps=3))
    _, gauged = train(tiny_config(steps=3, gauge_every=1), held_out=tiny_volumes(2, first=10))
    kept = [{k: v for k, v in r.items() if not k.startswith("held_out/")} for r in trace(gauged) if r["step"]]
    assert kept == trace(plain)


def test_an_entry_that_was_never_logged_names_those_that_were(finished):
    with pytest.raises(KeyError, match="never logged.*intra"):
        finished[2]["accuracy"]


def test_a_log_cut_off_in_its_last_line_is_read_up_to_there(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"step": 2, "tot')
    assert History.load(tmp_path).records == [{"step": 1}]


def test_a_log_damaged_before_its_end_is_refused(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1\n{"step": 2}\n')
    with pytest.raises(ValueError, match="line 1 should be a JSON record"):
        History.load(tmp_path)


def test_a_folder_without_a_log_says_what_to_give(tmp_path):
    with pytest.raises(FileNotFoundError, match="Give the run folder"):
        History.load(tmp_path)


# A loss that is not finite


def break_at(monkeypatch, call, what):
    """Make the loss, or only its gradient, infinite in one forward pass, counted from 1."""
    forward, calls = VoCo.forward, []

    def broken(self, *args, **keywords):
        losses = forward(self, *args, **keywords)
        calls.append(1)
        if len(calls) == call:
            if what == "loss":
                losses.total = losses.total * torch.inf
            else:
                losses.total.register_hook(lambda gradient: gradient * torch.inf)
        return losses

    monkeypatch.setattr(VoCo, "forward", broken)


@pytest.fixture(scope="module")
def before_the_fault():
    """Weights after 3 of 6 healthy steps."""
    states = {}
    config = tiny_config(steps=6)
    train(config, callbacks=[lambda record, model: states.update({record["step"]: weights(model)})])
    return states[3]


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_fault_stops_with_the_model_as_it_was_before(monkeypatch, before_the_fault, what):
    break_at(monkeypatch, 4, what)
    config = tiny_config(steps=6)
    model = VoCo(config)
    with pytest.raises(NonFiniteLossError):
        pretrain(model, VoCoDataset(tiny_volumes(), config.crops), config.train)
    assert same_weights(weights(model), before_the_fault)


def test_a_fault_is_found_between_records_too(monkeypatch, before_the_fault):
    break_at(monkeypatch, 4, "loss")
    config = tiny_config(steps=6, log_every=6)
    model = VoCo(config)
    with pytest.raises(NonFiniteLossError) as caught:
        pretrain(model, VoCoDataset(tiny_volumes(), config.crops), config.train)
    assert caught.value.step == 4 and same_weights(weights(model), before_the_fault)


def test_a_fault_names_the_step_and_the_volumes(monkeypatch):
    break_at(monkeypatch, 4, "loss")
    with pytest.raises(NonFiniteLossError, match=r"in step 4, on: tiny \d.*lower learning_rate") as caught:
        train(tiny_config(steps=6))
    [sources] = caught.value.sources
    assert len(sources) == 2 and all(source.startswith("tiny ") for source in sources)


def test_a_fault_in_the_last_step_is_not_missed(monkeypatch, tmp_path):
    break_at(monkeypatch, 6, "loss")
    with pytest.raises(NonFiniteLossError, match="in step 6"):
        train(tiny_config(steps=6, log_every=4, run_folder=str(tmp_path)))
    assert not (tmp_path / "final.pt").exists()


def test_a_voxel_that_is_no_number_is_traced_to_its_volume():
    volumes = tiny_volumes()
    volumes[2].data[0, 16, 16, 8] = torch.nan
    with pytest.raises(NonFiniteLossError) as caught:
        train(tiny_config(), volumes)
    assert any("tiny 2" in source for source in caught.value.sources[0])


@pytest.mark.parametrize("log_every", [1, 4])
def test_after_a_fault_the_run_continues_as_if_nothing_had_happened(monkeypatch, tmp_path, log_every):
    config = tiny_config(steps=6, log_every=log_every)
    healthy, history = train(config)
    with monkeypatch.context() as context:
        break_at(context, 4, "gradient")
        with pytest.raises(NonFiniteLossError) as caught:
            train(config.changed(run_folder=str(tmp_path)))
    assert str(step_path(tmp_path, 3)) in caught.value.__notes__[0]
    model, continued = train(config.changed(run_folder=str(tmp_path)))
    assert same_weights(weights(model), weights(healthy)) and trace(continued) == trace(history)


# Resumption


class Interrupted(Exception):
    """What stops a run in these tests."""


def interrupt(step):
    def stop(record, _):
        if record["step"] == step:
            raise Interrupted

    return stop


VARIANTS = {
    "plain": {},
    "accumulation": {"accumulation": 2},
    "records that straddle the checkpoint": {"log_every": 5},
    "amsgrad": {"amsgrad": True},
    "one order for all epochs": {"reshuffle": False, "drop_last": False},
    "network teacher": {"objective__name": "cvpr24"},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, changes):
    config = tiny_config(checkpoint_every=3, **changes)
    whole, history = train(config)
    parted = config.changed(run_folder=str(tmp_path))
    with pytest.raises(Interrupted):
        train(parted, callbacks=[interrupt(5)])
    model, resumed = train(parted)
    assert same_weights(weights(model), weights(whole)) and trace(resumed) == trace(history)


@pytest.fixture
def interrupted(tmp_path):
    """The configuration of a run that stopped at step 5, with a checkpoint of step 4 and one of step 2."""
    config = tiny_config(checkpoint_every=2, run_folder=str(tmp_path))
    with pytest.raises(Interrupted):
        train(config, callbacks=[interrupt(5)])
    return config


def test_a_resumed_log_holds_every_step_once(interrupted):
    assert History.load(interrupted.train.run_folder).steps == 5
    train(interrupted)
    assert [r["step"] for r in History.load(interrupted.train.run_folder).records] == list(range(1, 9))


def test_a_resumed_run_starts_after_its_checkpoint(interrupted):
    seen = []
    train(interrupted, callbacks=[lambda record, _: seen.append(record["step"])])
    assert seen == [5, 6, 7, 8]


def test_the_clock_of_a_resumed_run_goes_on(interrupted):
    stored = load_checkpoint(step_path(interrupted.train.run_folder, 4))["seconds"]
    _, history = train(interrupted)
    assert history.records[4]["seconds"] >= stored - 0.001


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"learning_rate": 1e-2}, "train.learning_rate: 0.001 -> 0.01"), ({"seed": 1}, "train.seed: 0 -> 1"),
     ({"steps": 9}, "train.steps: 8 -> 9"), ({"momentum": 0.5}, "objective.momentum"),
     ({"flip_probability": 0.5}, "crops.flip_probability")],
)  # fmt: skip
def test_changed_settings_are_refused_by_name(interrupted, changes, named):
    with pytest.raises(ValueError, match=named):
        train(interrupted.changed(**changes))


def test_changed_data_are_refused(interrupted):
    with pytest.raises(ValueError, match="provenance.data.digest"):
        train(interrupted, tiny_volumes(4, first=1))


def test_a_refused_run_leaves_its_folder_as_it_was(interrupted):
    before = {p: p.read_bytes() for p in step_checkpoints(interrupted.train.run_folder)}
    log = History.load(interrupted.train.run_folder).records
    with pytest.raises(ValueError, match="must have the settings"):
        train(interrupted.changed(learning_rate=1e-2))
    assert {p: p.read_bytes() for p in step_checkpoints(interrupted.train.run_folder)} == before
    assert History.load(interrupted.train.run_folder).records == log


def test_settings_that_change_no_weight_may_change(interrupted):
    whole, _ = train(tiny_config())
    model, _ = train(interrupted.changed(log_every=3, checkpoint_every=5, progress=True))
    assert same_weights(weights(model), weights(whole))


def test_a_folder_with_a_run_is_not_overwritten(interrupted):
    with pytest.raises(ValueError, match="Nothing is overwritten"):
        train(interrupted.changed(resume=False))


def test_a_damaged_checkpoint_gives_way_to_an_older_one(interrupted):
    whole, _ = train(tiny_config())
    step_path(interrupted.train.run_folder, 4).write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="Trying an older one"):
        model, _ = train(interrupted)
    assert same_weights(weights(model), weights(whole))


def test_a_finished_run_is_returned_without_training(finished):
    config, trained, history = finished
    model, again = train(config, callbacks=[interrupt(24)])
    assert again.records == history.records and same_weights(weights(model), weights(trained))
