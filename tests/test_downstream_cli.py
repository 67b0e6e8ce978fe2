"""`finetune` on the command line: made subjects, a folder in MSD layout, a pre-trained start, wrong input."""

import pytest

from tiny_msd import msd_layout
from tiny_reports import Hashed
from tiny_run import tiny_config, train
from voco_lite.cli import Finetune, main
from voco_lite.downstream import text_encoder
from voco_lite.downstream.aligner import load_aligner
from voco_lite.downstream.classifier import load_classifier
from voco_lite.downstream.registrar import load_registrar
from voco_lite.downstream.segmenter import load_segmenter

TINY = ("--train.steps", "2", "--train.gauge-every", "0", "--train.device", "cpu", "--train.no-progress")


def finetune(run_folder, *arguments, task="segmentation"):
    return main(["finetune", task, "--train.run-folder", str(run_folder), *TINY, *map(str, arguments)])


def test_a_folder_in_msd_layout_is_learnt_from_a_pre_trained_checkpoint(tmp_path, capsys):
    pre = tmp_path / "pre"
    train(tiny_config(steps=1, run_folder=str(pre)))
    code = finetune(
        tmp_path / "run",
        *("--from", pre / "final.pt", "--data", msd_layout(tmp_path / "data"), "--validation", 1, "--test", 1),
        *("--patch-size", 32, 32, 32),
    )
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "validation Dice" in said.out and "box " in said.out
    assert load_segmenter(tmp_path / "run").config.organs == ("box",)


def test_phantoms_are_learnt_from_scratch_with_a_linear_probe(tmp_path, capsys):
    made = ("--preset", "ci", "--data", "phantoms", "--subjects", 1, "--validation", 1, "--test", 1)
    code = finetune(tmp_path, *made, "--organs", "liver", "--patch-size", 32, 32, 32, "--train.mode", "linear-probe")
    assert code == 0, capsys.readouterr().err
    assert load_segmenter(tmp_path).network.linear


def test_phantoms_are_classified(tmp_path, capsys):
    made = ("--preset", "ci", "--data", "phantoms", "--subjects", 8, "--validation", 1, "--test", 2)
    code = finetune(tmp_path, *made, "--attribute", "body_shape", "--patch-size", 16, 16, 16, task="classification")
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "validation, probability of the right class" in said.out and "test accuracy" in said.out
    assert load_classifier(tmp_path).config.classes == ("slim", "average", "large")


def test_phantoms_are_registered(tmp_path, capsys):
    made = ("--preset", "ci", "--data", "phantoms", "--subjects", 2, "--validation", 2, "--test", 2)
    code = finetune(tmp_path, *made, "--organs", "liver", task="registration")
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "validation Dice of warped labels" in said.out and "target error mm" in said.out
    assert load_registrar(tmp_path).config.organs == ("liver",)
    assert finetune(tmp_path / "other", "--data", str(tmp_path), task="registration") == 2
    assert "RegistrationTask" in capsys.readouterr().err


def test_without_names_the_organs_of_the_notebooks_are_taken_at_the_size_that_was_asked_for(tmp_path, capsys):
    made = ("--preset", "ci", "--data", "phantoms", "--subjects", 2, "--validation", 0, "--test", 0)
    assert finetune(tmp_path, *made, "--size", 32, 32, 32, task="registration") == 0, capsys.readouterr().err
    found = load_registrar(tmp_path)
    assert found.config.organs == ("spleen", "liver", "urinary_bladder") and found.volume.size == (32, 32, 32)


def test_reports_are_aligned_with_phantoms(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(text_encoder, "MiniLM", Hashed)
    made = ("--preset", "ci", "--data", "phantoms", "--subjects", 2, "--validation", 1, "--test", 2)
    asked = (*made, "--topics", "contrast_phase", "--patch-size", 16, 16, 16)
    code = finetune(tmp_path, *asked, task="vision-language")
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "validation, probability of what is true" in said.out and "zero-shot contrast_phase" in said.out
    assert load_aligner(tmp_path, Hashed()).config.topics == ("contrast_phase",)
    # Two reports at most: recall at 3 is not asked for.
    assert "recall@1" in said.out and "recall@3" not in said.out
    assert finetune(tmp_path / "other", "--data", str(tmp_path), task="vision-language") == 2
    assert "whose making is known" in capsys.readouterr().err


def test_a_folder_without_classes_cannot_be_classified(tmp_path, capsys):
    assert finetune(tmp_path, "--data", str(tmp_path), task="classification") == 2
    assert 'data must be "population" or "phantoms"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "defaults"),
    [
        ("segmentation", {"patch-size": "32 32 32", "train.batch-size": "8", "train.steps": "200"}),
        ("registration", {"size": "48 48 48", "train.batch-size": "1", "train.learning-rate": "0.002"}),
        ("vision-language", {"size": "None", "train.batch-size": "16", "subjects": "64"}),
        ("classification", {"patch-size": "32 32 32", "train.batch-size": "2", "attribute": "contrast_phase"}),
    ],
)
def test_each_task_has_defaults_of_its_own(task, defaults, capsys):
    assert main(["finetune", task, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, value in defaults.items():
        after = said.split(f"--{name} ", 1)[1]
        assert after.split("(default: ", 1)[1].startswith(f"{value})"), name


@pytest.mark.parametrize("order", [("registration", "--from", "RUN"), ("--from", "RUN", "registration")])
def test_a_task_that_is_named_after_its_options_has_its_defaults_too(order, monkeypatch):
    ran = []
    monkeypatch.setattr(Finetune, "run", lambda self: ran.append(self))
    assert main(["finetune", *order]) == 0
    [command] = ran
    assert (command.task, command.start) == ("registration", "RUN")
    assert command.size == (48, 48, 48) and command.train.batch_size == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "nothing.pt"), "There is no checkpoint"),
        (("--data", "nothing"), "There is no folder nothing"),
        (("--patch-size", "20", "20", "20", "--data", "phantoms", "--preset", "ci"), "multiples of 16"),
    ],
)
def test_wrong_input_ends_with_one_line(tmp_path, capsys, arguments, said):
    assert finetune(tmp_path / "run", "--subjects", 1, "--validation", 0, "--test", 0, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("error:") == 1
    assert not (tmp_path / "run" / "final.pt").exists()
