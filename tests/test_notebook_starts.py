"""Where fine-tuning notebooks start: the newest model of notebook 05 at their size, what was given, or one made here."""

import os

import pytest
import torch

from tiny_run import same_weights, tiny_config, train, weights
from voco_lite.checkpoints import load_model
from voco_lite.config import PretrainConfig
from voco_lite.downstream import untrained
from voco_lite.notebooks import checkpoint_of_05, pretrained_start


def made(folder, minutes):
    """A final checkpoint that is so many minutes old."""
    folder.mkdir(parents=True)
    file = folder / "final.pt"
    file.touch()
    os.utime(file, (1e9 - 60 * minutes,) * 2)
    return file


def test_the_newest_model_of_the_size_is_found_beside_or_below(tmp_path):
    here = tmp_path / "07_segment"
    here.mkdir()
    assert checkpoint_of_05("laptop", here) is None
    below = made(here / "runs" / "05_pretrain" / "laptop-800-steps", 5)
    made(here / "runs" / "05_pretrain" / "laptop-900-steps", 6)
    made(here / "runs" / "05_pretrain" / "ci-30-steps", 1)
    assert checkpoint_of_05("laptop", here) == below
    beside = made(tmp_path / "05_pretrain" / "laptop-1000-steps", 4)
    assert checkpoint_of_05("laptop", here).samefile(beside)


@pytest.mark.parametrize("here", [".", "notebooks", "notebooks/solutions", "runs/07_segment"])
@pytest.mark.parametrize("name", ["05_pretrain", "demo"])
def test_a_model_in_the_repository_s_runs_is_found_from_where_notebooks_work(tmp_path, here, name):
    (tmp_path / here).mkdir(parents=True, exist_ok=True)
    model = made(tmp_path / "runs" / name / "laptop-800-steps-24-subjects-seed-0", 5)
    made(tmp_path / "runs" / f"{name}.before" / "laptop-800-steps-24-subjects-seed-0", 1)
    assert checkpoint_of_05("laptop", tmp_path / here).samefile(model)
    assert checkpoint_of_05("ci", tmp_path / here) is None


@pytest.mark.parametrize("own_minutes", [2, 8])
def test_between_the_demo_and_a_run_of_one_s_own_the_newer_is_taken(tmp_path, own_minutes):
    own = made(tmp_path / "notebooks" / "runs" / "05_pretrain" / "laptop-10-steps", own_minutes)
    demo = made(tmp_path / "runs" / "demo" / "laptop-800-steps", 5)
    found = checkpoint_of_05("laptop", tmp_path / "notebooks")
    assert found.samefile(own if own_minutes < 5 else demo)


def test_an_unfinished_newer_demo_is_passed_over(tmp_path):
    own = made(tmp_path / "runs" / "05_pretrain" / "laptop-800-steps", 5)
    (tmp_path / "runs" / "demo" / "laptop-800-steps" / "checkpoints").mkdir(parents=True)
    assert checkpoint_of_05("laptop", tmp_path / "runs" / "demo").samefile(own)


def test_a_run_without_a_final_model_is_passed_over(tmp_path):
    (tmp_path / "runs" / "05_pretrain" / "ci-30-steps" / "checkpoints").mkdir(parents=True)
    assert checkpoint_of_05("ci", tmp_path) is None


def test_what_is_given_comes_before_what_05_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("runs/05_pretrain/ci-1-steps", 0), ("given", 1)):
        train(tiny_config(steps=1, seed=seed, run_folder=str(tmp_path / name)))
    for given, name in (("given", "given"), ("", "runs/05_pretrain/ci-1-steps/final.pt")):
        start = pretrained_start("ci", tiny_config(), given)
        assert same_weights(weights(start.encoder), weights(load_model(tmp_path / name).encoder))
        assert capsys.readouterr().out == f"from {name}\n"


def test_without_a_model_a_short_one_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = PretrainConfig.preset("ci", seed=3, progress=False, device="cpu")
    start = pretrained_start("ci", config)
    assert "short pre-training of 4 steps, made here" in capsys.readouterr().out
    assert (start.config, start.volume) == (config.encoder, config.volume)
    assert not same_weights(weights(start.encoder), weights(untrained(config, 3).encoder))
    assert all(torch.isfinite(tensor).all() for tensor in weights(start.encoder).values())
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


def test_a_given_model_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.pt"):
        pretrained_start("ci", tiny_config(), "nothing.pt")
