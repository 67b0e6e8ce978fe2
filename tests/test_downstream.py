"""The loop that fine-tunes for every task: what learns at which rate, what is kept, when it ends, how it is continued."""

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tiny_reports import Hashed, scan
from tiny_run import same_weights, trace, weights
from tiny_task import LevelTask, Untouchable, finetune, subjects, tiny_finetuning, tiny_task
from voco_lite.checkpoints import FINAL, load_checkpoint, load_model, save_checkpoint
from voco_lite.config import EncoderConfig, VolumeConfig
from voco_lite.downstream import FinetuneConfig, Split, split_subjects
from voco_lite.downstream.aligner import load_aligner
from voco_lite.downstream.classification import ClassificationConfig, ClassificationTask
from voco_lite.downstream.classifier import load_classifier
from voco_lite.downstream.rates import encoder_shares, learning_groups, stage_of
from voco_lite.downstream.registrar import load_registrar
from voco_lite.downstream.registration import RegistrationConfig, RegistrationTask
from voco_lite.downstream.segmentation import SegmentationConfig, SegmentationTask
from voco_lite.downstream.segmenter import load_segmenter
from voco_lite.downstream.start import Start
from voco_lite.downstream.task import Draws
from voco_lite.downstream.vision_language import VisionLanguageConfig, VisionLanguageTask
from voco_lite.encoders import build_encoder
from voco_lite.train import History, NonFiniteLossError

_SCRIPT = Path(__file__).parent / "tiny_task.py"


class Scripted(LevelTask):
    """A task whose validation scores are written beforehand."""

    script: tuple[float | tuple[float, ...], ...] = ()

    def scores(self, subjects):
        self.looks = getattr(self, "looks", 0) + 1
        found = self.script[self.looks - 1]
        return list(found) if isinstance(found, tuple) else [found] * len(subjects)


def scripted(*scores):
    made = tiny_task()
    task = Scripted(made.network, made.split)
    task.script = scores
    return task


def test_fine_tuning_learns():
    _, fitted = finetune(tiny_finetuning(steps=60, gauge_every=10))
    losses = fitted.history["total"][1]
    assert sum(losses[-5:]) < sum(losses[:5]) / 3


@pytest.mark.parametrize("mode", ["frozen", "linear-probe"])
def test_a_frozen_encoder_is_the_same_afterwards_batch_statistics_included(mode):
    task = tiny_task()
    before, head = weights(task.network.encoder), weights(task.network.head)
    finetune(tiny_finetuning(mode=mode), task)
    assert same_weights(weights(task.network.encoder), before)
    assert not same_weights(weights(task.network.head), head)


def test_a_frozen_encoder_gets_no_gradient():
    task = tiny_task()
    task.network.freeze()
    batch = Draws(task, 0, 4).collate([Draws(task, 0, 4)[i] for i in range(4)])
    task.losses(batch.examples)["square"].backward()
    assert all(parameter.grad is None for parameter in task.network.encoder.parameters())
    assert all(parameter.grad is not None for parameter in task.network.head.parameters())


def test_full_fine_tuning_after_a_frozen_one_trains_the_encoder_again():
    task, _ = finetune(tiny_finetuning(mode="frozen"))
    before = weights(task.network.encoder)
    finetune(tiny_finetuning(mode="full"), task)
    assert not same_weights(weights(task.network.encoder), before)


def test_a_linear_probe_needs_a_linear_head():
    task = tiny_task()
    task.network.linear = False
    with pytest.raises(ValueError, match='mode="frozen"'):
        finetune(tiny_finetuning(mode="linear-probe"), task)


def test_the_head_learns_at_the_full_rate_and_each_stage_below_at_its_share():
    task, config = tiny_task(), tiny_finetuning(encoder_rate=0.5, layer_decay=0.1)
    share_of = {id(p): group["share"] for group in learning_groups(task.network, config) for p in group["params"]}
    found = {name: share_of[id(p)] for name, p in task.network.named_parameters()}
    expected = {"stages.0": 0.005, "stages.1": 0.05, "stages.2": 0.5}
    for name, share in found.items():
        assert share == pytest.approx(1.0 if name.startswith("head") else expected[name[8:16]])


def test_the_first_adam_step_moves_each_group_by_its_rate():
    # Adam's first step is the learning rate itself, whatever the size of the gradient.
    task = tiny_task()
    before = weights(task.network)
    config = tiny_finetuning(
        steps=1, learning_rate=1e-3, warmup_steps=0, weight_decay=0.0, encoder_rate=0.1, gauge_every=0
    )
    finetune(config, task)
    moved = {name: (value - before[name]).abs().max().item() for name, value in weights(task.network).items()}
    assert moved["head.weight"] == pytest.approx(1e-3, rel=0.01)
    assert moved["encoder.stages.1.0.weight"] == pytest.approx(1e-4, rel=0.01)


@pytest.mark.parametrize("name", ["conv-tiny", "plain-conv", "swin-tiny"])
def test_every_parameter_of_an_encoder_has_its_stage(name):
    encoder = build_encoder(EncoderConfig(name), 1, 0)
    assert None not in {stage_of(parameter) for parameter, _ in encoder.named_parameters()}


def test_rates_fall_towards_the_input_in_swin():
    shares = encoder_shares(build_encoder(EncoderConfig("swin-tiny"), 1, 0), FinetuneConfig(layer_decay=0.5))
    order = ("swinViT.patch_embed.proj.weight", "swinViT.layers1.0", "swinViT.layers2c.0", "swinViT.layers4.0")
    found = [next(share for name, share in shares.items() if name.startswith(start)) for start in order]
    assert found == pytest.approx([1 / 16, 1 / 8, 1 / 4, 1])


def test_an_encoder_of_unknown_layout_learns_at_one_rate():
    assert set(encoder_shares(nn.Linear(2, 2), FinetuneConfig(encoder_rate=0.3, layer_decay=0.5)).values()) == {0.3}


def test_the_best_weights_are_kept_not_the_last():
    seen = {}

    def remember(record, network):
        seen[record["step"]] = weights(network)

    task = scripted(0.1, 0.9, 0.5, 0.2)
    _, fitted = finetune(tiny_finetuning(), task, callbacks=[remember])
    assert (fitted.best_step, fitted.score) == (4, 0.9)
    assert same_weights(weights(task.network), seen[4])
    assert not same_weights(seen[4], seen[8])


def test_patience_counts_looks_without_a_better_score():
    task = scripted(0.1, 0.9, 0.5, 0.9, 1.0)
    _, fitted = finetune(tiny_finetuning(steps=20, patience=2), task)
    assert fitted.history.steps == 8 and task.looks == 4
    assert fitted.best_step == 4


def test_without_patience_every_step_is_taken():
    _, fitted = finetune(tiny_finetuning(), scripted(0.9, 0.5, 0.4, 0.3))
    assert fitted.history.steps == 8


def test_without_validation_subjects_the_last_weights_stay():
    _, fitted = finetune(tiny_finetuning(), tiny_task(validation=0))
    assert (fitted.best_step, fitted.score, fitted.scores) == (8, None, {})


def test_test_subjects_are_not_touched():
    _, fitted = finetune(tiny_finetuning(patience=1), tiny_task(test=Untouchable()))
    assert set(fitted.scores) == {"subject 100", "subject 101", "subject 102"}


def test_a_subject_without_a_score_does_not_count():
    _, fitted = finetune(tiny_finetuning(steps=2), scripted((float("nan"), 0.5, 0.5)))
    assert fitted.score == 0.5


def test_a_look_at_which_no_subject_has_a_score_is_refused():
    with pytest.raises(ValueError, match="must have a score"):
        finetune(tiny_finetuning(), scripted(float("nan")))


def test_fewer_subjects_than_a_batch_are_shown_several_times_and_drawn_anew():
    draws = Draws(tiny_task(training=1), seed=0, batch_size=4)
    assert len(draws) == 4
    batch = draws.collate([draws[i] for i in range(4)])
    assert batch.sources == ["subject 0"] * 4
    assert len(batch.examples["crop"].flatten(1).unique(dim=0)) == 4


def test_every_subject_is_shown_equally_often():
    draws = Draws(tiny_task(training=3), seed=0, batch_size=4)
    assert [draws[i][1] for i in range(len(draws))] == [f"subject {i % 3}" for i in range(6)]


def test_the_same_call_gives_the_same_weights():
    one, other = (finetune(tiny_finetuning())[0] for _ in range(2))
    assert same_weights(weights(one.network), weights(other.network))


def four_tasks():
    start = Start(build_encoder(EncoderConfig(), seed=0), EncoderConfig(), VolumeConfig())
    split = Split([scan(seed) for seed in range(4)])
    size = (16, 16, 16)
    return [
        SegmentationTask(start, split, SegmentationConfig(("liver", "spleen"), size)),
        ClassificationTask(start, split, ClassificationConfig("contrast_phase", crop_size=size)),
        RegistrationTask(start, split, RegistrationConfig(organs=("liver",))),
        VisionLanguageTask(start, split, VisionLanguageConfig(crop_size=size), Hashed()),
    ]


@pytest.mark.parametrize("number", range(4))
def test_a_task_reaches_a_process_that_is_started_anew(number):
    draws = Draws(four_tasks()[number], seed=0, batch_size=2)
    found, name = pickle.loads(pickle.dumps(draws))[1]
    expected, _ = draws[1]
    assert name == "scan 1" and all(torch.equal(found[key], expected[key]) for key in expected)


def test_loader_processes_change_nothing():
    one, other = (finetune(tiny_finetuning(workers=workers))[0] for workers in (0, 1))
    assert same_weights(weights(one.network), weights(other.network))


class Interruption(Exception):
    """Stands for a killed process."""


def stop_at(step):
    def stop(record, network):
        if record["step"] == step:
            raise Interruption

    return stop


@pytest.mark.parametrize("step", [3, 5, 7])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, step):
    settings = {"checkpoint_every": 2, "patience": 3}
    whole, fitted = finetune(tiny_finetuning(run_folder=str(tmp_path / "whole"), **settings))
    config = tiny_finetuning(run_folder=str(tmp_path / "cut"), **settings)
    with pytest.raises(Interruption):
        finetune(config, callbacks=[stop_at(step)])
    task, resumed = finetune(config)
    assert same_weights(weights(task.network), weights(whole.network))
    assert trace(resumed.history) == trace(fitted.history)
    assert (resumed.best_step, resumed.scores) == (fitted.best_step, fitted.scores)


def test_patience_is_remembered_across_an_interruption(tmp_path):
    scores = (0.9, 0.5, 0.4, 0.3, 0.2)
    config = tiny_finetuning(steps=20, patience=3, checkpoint_every=4, run_folder=str(tmp_path))
    with pytest.raises(Interruption):
        finetune(config, scripted(*scores), callbacks=[stop_at(5)])
    _, fitted = finetune(config, scripted(*scores[2:]))
    assert (fitted.history.steps, fitted.best_step) == (8, 2)


def test_a_finished_run_is_not_trained_again(tmp_path):
    config = tiny_finetuning(run_folder=str(tmp_path))
    task, fitted = finetune(config)
    again, found = finetune(config, scripted())
    assert same_weights(weights(again.network), weights(task.network))
    assert (found.best_step, found.scores, len(found.history)) == (
        fitted.best_step,
        fitted.scores,
        len(fitted.history),
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"mode": "frozen"}, "train.mode"),
        ({"encoder_rate": 0.5}, "train.encoder_rate"),
        ({"patience": 1}, "train.patience"),
        ({"gauge_every": 4}, "validation.every"),
    ],
)
def test_a_run_with_other_settings_is_not_continued(tmp_path, changes, named):
    finetune(tiny_finetuning(run_folder=str(tmp_path)))
    with pytest.raises(ValueError, match=named):
        finetune(tiny_finetuning(run_folder=str(tmp_path), **changes))


def test_a_run_with_other_subjects_or_another_start_is_not_continued(tmp_path):
    config = tiny_finetuning(run_folder=str(tmp_path))
    finetune(config)
    with pytest.raises(ValueError, match=r"provenance.validation"):
        finetune(config, tiny_task(validation=2))
    with pytest.raises(ValueError, match=r"provenance.data"):
        finetune(config, tiny_task(training=5))
    other = tiny_task()
    other.network.encoder.stages[0][0].weight.data += 1
    with pytest.raises(ValueError, match=r"started_from"):
        finetune(config, LevelTask(type(other.network)(other.network.encoder), other.split))


def test_a_fine_tuned_checkpoint_is_no_pre_trained_model(tmp_path):
    finetune(tiny_finetuning(run_folder=str(tmp_path)))
    with pytest.raises(ValueError, match="unknown fields"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("load", "name", "parts"),
    [
        (load_segmenter, "segmentation", {}),
        (load_segmenter, "segmentation", {"segmentation": {"organs": ["liver"]}, "encoder": ["conv-tiny"]}),
        (load_classifier, "classification", {}),
        (load_registrar, "registration", {}),
        (load_aligner, "vision_language", {}),
        (load_aligner, "vision_language", {"vision_language": {}, "text": {}}),
    ],
)
def test_a_checkpoint_that_says_too_little_about_its_task_is_refused(tmp_path, load, name, parts):
    config = SimpleNamespace(to_dict=lambda: {"task": {"name": name, **parts}})
    file = save_checkpoint(tmp_path / FINAL, nn.Linear(1, 1), config=config)
    with pytest.raises(ValueError, match=rf"{FINAL} should describe the .* of its task.*, got .*Give a file"):
        load(file)


@pytest.mark.parametrize("other", [["weight"], {"weight": 1.0}])
def test_a_checkpoint_whose_weights_are_no_tensors_is_refused(tmp_path, other):
    config = SimpleNamespace(to_dict=lambda: {"task": {"name": "segmentation"}})
    file = save_checkpoint(tmp_path / FINAL, nn.Linear(1, 1), config=config)
    torch.save(load_checkpoint(file) | {"model": other}, file)
    with pytest.raises(ValueError, match=rf"{FINAL} should hold weights .*, got .*weight.*Give a file"):
        load_segmenter(file)


def test_a_loss_that_is_not_finite_stops_with_the_state_before(tmp_path):
    made = tiny_task()
    bad = SimpleNamespace(data=torch.full((1, 8, 8, 8), torch.nan), level=torch.tensor(0.5), source="broken")
    task = LevelTask(made.network, Split([*made.split.training, bad], made.split.validation))
    with pytest.raises(NonFiniteLossError, match="broken"):
        finetune(tiny_finetuning(run_folder=str(tmp_path), gauge_every=0), task)
    assert all(tensor.isfinite().all() for tensor in weights(task.network).values())


def test_a_split_keeps_subjects_apart():
    split = split_subjects(subjects(10), validation=2, test=3, seed=0)
    names = [[s.source for s in group] for group in (split.training, split.validation, split.test)]
    assert [len(group) for group in names] == [5, 2, 3]
    assert len({name for group in names for name in group}) == 10
    assert names[0] != [f"subject {i}" for i in range(5, 10)], "the order is drawn"
    with pytest.raises(ValueError, match="got none"):
        Split([])
    with pytest.raises(ValueError, match="Hold fewer back"):
        split_subjects(subjects(3), 2, 1)


@pytest.mark.parametrize(
    ("groups", "named"),
    [
        ((subjects(3), subjects(2)), "training and validation"),
        ((subjects(3), (), subjects(3)), "training and test"),
        ((subjects(3), subjects(2, 100), subjects(2, 101)), "validation and test"),
    ],
)
def test_no_subject_is_in_two_groups(groups, named):
    with pytest.raises(ValueError, match=f"in both {named}"):
        Split(*groups)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": "half"}, "linear-probe"),
        ({"encoder_rate": 0.0}, "frozen"),
        ({"layer_decay": 1.5}, "layer_decay"),
        ({"patience": -1}, "patience"),
        ({"steps": 0}, "steps"),
    ],
)
def test_wrong_choices_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        FinetuneConfig(**changes)


def _start(folder, steps=90):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, str(_SCRIPT), str(folder), str(steps)], env=environment)


@pytest.mark.slow
def test_a_fine_tuning_killed_at_random_moments_ends_as_if_it_had_not_been(tmp_path):
    chance, log = random.Random(0), tmp_path / "killed" / "log.jsonl"
    for target in sorted(chance.sample(range(4, 80), 3)):
        process = _start(tmp_path / "killed")
        while process.poll() is None and not (log.is_file() and log.read_text().count("\n") * 2 >= target):
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
    for folder in ("killed", "whole"):
        assert _start(tmp_path / folder).wait() == 0
    killed, whole = (load_checkpoint(tmp_path / folder / FINAL) for folder in ("killed", "whole"))
    assert same_weights(killed["model"], whole["model"]) and killed["best"] == whole["best"]
    assert trace(History.load(tmp_path / "killed")) == trace(History.load(tmp_path / "whole"))


@pytest.mark.slow
def test_two_processes_write_one_run(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    subprocess.run([*launch, str(_SCRIPT), str(tmp_path / "two"), "6"], env=environment, check=True)
    assert History.load(tmp_path / "two").steps == 6
    first, second = (torch.load(tmp_path / f"two-of-process-{n}.pt", weights_only=True) for n in (0, 1))
    assert any("running_mean" in name for name in first)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert load_checkpoint(tmp_path / "two" / FINAL)["best"]["scores"].keys() == {
        f"subject {i}" for i in (100, 101, 102)
    }
