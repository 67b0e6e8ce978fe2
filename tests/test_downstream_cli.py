"""`finetune` on the command line: made subjects, a folder in MSD layout, where it starts, interruptions, wrong input."""

import csv
import re
from pathlib import Path

import pytest

from tiny_msd import msd_layout
from tiny_reports import Hashed
from tiny_run import same_weights, tiny_config, train
from voco_lite import load_volume
from voco_lite.benchmark import msd_folder, task
from voco_lite.checkpoints import load_checkpoint
from voco_lite.cli import Finetune, finetuning, learning, main
from voco_lite.cli.finetuning import recipe
from voco_lite.cli.published import with_warmup_share
from voco_lite.config import VolumeConfig
from voco_lite.downstream import FinetuneConfig, fit, split_subjects, text_encoder
from voco_lite.downstream.aligner import load_aligner
from voco_lite.downstream.classifier import load_classifier
from voco_lite.downstream.registrar import load_registrar
from voco_lite.downstream.segmenter import load_segmenter
from voco_lite.downstream.split import sources

ROOT = Path(__file__).resolve().parents[1]
TINY = ("--train.steps", "2", "--train.gauge-every", "0", "--train.device", "cpu", "--train.no-progress")
COARSE = ("--preset", "ci", "--size", 16, 16, 16, "--patch-size", 16, 16, 16, "--train.batch-size", 2)


def finetune(run_folder, *arguments, task="segmentation"):
    return main(["finetune", task, "--train.run-folder", str(run_folder), *TINY, *map(str, arguments)])


@pytest.fixture(scope="module")
def pre(tmp_path_factory):
    """The run folder of a pre-training whose network and preparation no preset has."""
    folder = tmp_path_factory.mktemp("pre") / "runs" / "run.1"
    train(tiny_config(steps=1, run_folder=str(folder), norm="group", size=(32, 32, 16)))
    return folder


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    return msd_layout(tmp_path_factory.mktemp("boxes") / "data")


def kept_scores(run_folder):
    with (run_folder / "test_scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_in_msd_layout_is_learnt_from_a_pre_trained_checkpoint(tmp_path, pre, boxes, capsys):
    asked = ("--from", pre / "final.pt", "--data", boxes, "--validation", 1, "--test", 2, "--intensity", "ct-chest")
    code = finetune(tmp_path, *asked, "--patch-size", 32, 32, 16)
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "validation Dice" in said.out and "within 4 mm" in said.out
    found = load_segmenter(tmp_path)
    assert found.config.organs == ("box",)
    assert (found.volume.size, found.volume.intensity) == ((32, 32, 16), "ct-chest")
    rows = kept_scores(tmp_path)
    assert len({row["subject"] for row in rows}) == 2
    expected = sum(float(row["dice"]) for row in rows) / 2
    assert re.search(r"^box +([\d.]+)", said.out, re.MULTILINE)[1] == f"{expected:.3f}"
    assert {"organ", "hd95_mm", "surface_dice", "tolerance_mm"} < set(rows[0])


def test_only_the_first_process_examines_and_speaks(tmp_path, boxes, capsys, monkeypatch):
    for module in (learning, finetuning):
        monkeypatch.setattr(module, "first_process", lambda: False)
    assert finetune(tmp_path, "--data", boxes, *COARSE, "--validation", 1, "--test", 1) == 0
    assert capsys.readouterr().out == "" and not (tmp_path / "test_scores.csv").exists()


@pytest.mark.parametrize(("option", "most"), [("--subjects", 500), ("--validation", 500)])
def test_made_subjects_of_two_groups_are_refused(tmp_path, capsys, option, most):
    assert finetune(tmp_path, "--data", "phantoms", *COARSE, option, most + 1) == 2
    assert f"{option[2:]} must be at most {most} made subjects, got {most + 1}" in capsys.readouterr().err


def test_the_seed_of_the_training_does_not_decide_who_is_examined(tmp_path, boxes):
    def examined(name, *seeds):
        assert finetune(tmp_path / name, "--data", boxes, *COARSE, "--validation", 0, "--test", 2, *seeds) == 0
        return {row["subject"] for row in kept_scores(tmp_path / name)}

    first = examined("a")
    assert examined("b", "--train.seed", 1) == first
    assert examined("c", "--split-seed", 1) != first


def test_the_lines_of_the_readme_segment_a_new_scan(tmp_path, boxes, monkeypatch):
    [lines] = re.findall(r"^```py\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    run = re.search(r'load_segmenter\("(.*?)"\)', lines)[1]
    assert finetune(run, "--data", boxes, *COARSE, "--validation", 0, "--test", 0) == 0
    (tmp_path / "scan.nii.gz").write_bytes((boxes / "imagesTr" / "0.nii.gz").read_bytes())
    exec(compile(lines, "README.md", "exec"), {})
    assert load_volume("scan.nii.gz", labels="organs.nii.gz").labels.shape == (32, 32, 32)


def test_each_scan_of_a_folder_is_read_when_it_is_asked_for(tmp_path, boxes, monkeypatch):
    reads = []

    def counted(image, *arguments, **options):
        reads.append(Path(image).name)
        return load_volume(image, *arguments, **options)

    monkeypatch.setattr("voco_lite.benchmark.msd.load_volume", counted)
    asked = Finetune(data=str(boxes), preset="ci", size=(16, 16, 16), validation=1, test=1)
    split, organs = learning._split(asked, asked.prepared_start())
    assert organs == ("box",) and reads == []
    assert [len(part) for part in (split.training, split.validation, split.test)] == [3, 1, 1]
    code = finetune(tmp_path, "--data", boxes, *COARSE, "--validation", 1, "--test", 1, "--train.steps", 4)
    assert code == 0
    # Training subjects stay in memory; the validation subject is looked at once, the test subject after the training.
    assert sorted(reads) == sorted(f"{number}.nii.gz" for number in range(5))
    assert [reads[-2], reads[-1]] == [Path(part.sources[0]).name for part in (split.validation, split.test)]


def test_who_is_examined_is_decided_as_by_split_subjects(boxes):
    asked = Finetune(data=str(boxes), preset="ci", validation=1, test=2, split_seed=3)
    folder = msd_folder(boxes)
    split, _ = learning._split(asked, asked.prepared_start())
    expected = split_subjects(folder.subjects(VolumeConfig()), 1, 2, seed=3)
    for part in ("training", "validation", "test"):
        assert sources(getattr(split, part)) == sources(getattr(expected, part))


@pytest.mark.parametrize("group", ["training", "validation", "test"])
def test_a_scan_that_cannot_be_read_is_named_whenever_it_is_read(tmp_path, capsys, group):
    data = msd_layout(tmp_path / "data")
    asked = Finetune(data=str(data), preset="ci", validation=1, test=1)
    split, _ = learning._split(asked, asked.prepared_start())
    file = Path(getattr(split, group).sources[0])
    file.write_bytes(b"no scan")
    assert finetune(tmp_path / "run", "--data", data, *COARSE, "--validation", 1, "--test", 1) == 2
    error = capsys.readouterr().err
    assert str(file) in error and error.count("error:") == 1
    assert (tmp_path / "run" / "final.pt").exists() == (group == "test")


# Published settings


PUBLISHED = ("--published", "SLIVER07", "--validation", 1, "--test", 1)


@pytest.fixture
def parsed(monkeypatch):
    """What a command line asks for."""
    ran = []
    monkeypatch.setattr(Finetune, "run", lambda self: ran.append(self))

    def parse(*arguments):
        assert main(["finetune", *map(str, arguments)]) == 0
        return ran.pop()

    return parse


def test_a_published_task_gives_the_defaults(parsed, pre, boxes):
    asked = parsed("segmentation", "--data", boxes, *PUBLISHED, "--from", pre)
    settings = task("SLIVER07").config(msd_folder(boxes))
    assert (asked.patch_size, asked.by_organ) == ((96, 96, 96), False)
    assert asked.prepared_start().volume == settings.volume
    schedule = settings.recipe(3)
    assert schedule.steps == 1500
    for name in ("steps", "batch_size", "learning_rate", "weight_decay", "warmup_steps", "precision"):
        assert getattr(asked.train, name) == getattr(schedule, name), name
    assert asked.train.checkpoint_every == asked.train.gauge_every == schedule.gauge_every
    # The encoder stays that of the checkpoint.
    assert asked.prepared_start().config.norm == "group"
    assert asked.default_folder() == Path("runs/segmentation-data-SLIVER07-from-run.1")


def test_what_is_given_wins_over_the_published_settings_even_where_it_is_a_usual_default(parsed, boxes):
    given = ("--train.steps", 200, "--patch-size", 32, 32, 32, "--by-organ", "--intensity", "mr", "--size", 16, 16, 16)
    asked = parsed(*given, "--data", boxes, *PUBLISHED)
    assert (asked.train.steps, asked.patch_size, asked.by_organ) == (200, (32, 32, 32), True)
    assert asked.train.learning_rate == task("SLIVER07").config().learning_rate
    volume = asked.prepared_start().volume
    assert (volume.intensity, volume.size) == ("mr", (16, 16, 16))


def test_the_warm_up_keeps_its_share_in_a_short_try(parsed, boxes):
    published = parsed("--data", boxes, *PUBLISHED)
    assert with_warmup_share(published, published.train) is published.train
    short = parsed("--data", boxes, *PUBLISHED, "--train.steps", 300)
    assert with_warmup_share(short, short.train).warmup_steps == 3  # 15 of 1,500
    chosen = parsed("--data", boxes, *PUBLISHED, "--train.steps", 300, "--train.warmup-steps", 7)
    assert with_warmup_share(chosen, chosen.train).warmup_steps == 7


def test_a_published_task_is_fine_tuned_with_the_encoder_of_the_checkpoint(tmp_path, pre, boxes, capsys):
    small = ("--size", 32, 32, 16, "--patch-size", 32, 32, 16, "--train.batch-size", 2)
    code = finetune(tmp_path, "--data", boxes, *PUBLISHED, *small, "--from", pre)
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "SLIVER07: 2 steps, 0 of them warm-up; published: 1,500." in said.out
    assert f"The encoder stays {load_checkpoint(pre / 'final.pt')['config']['encoder']['name']} of {pre}" in said.out
    found = load_segmenter(tmp_path)
    settings = task("SLIVER07").config()
    assert found.config.organs == ("box",) and not found.config.by_organ
    assert found.config.foreground_share == settings.foreground_share and found.config.overlap == settings.overlap
    assert (found.volume.spacing, found.volume.intensity) == (settings.volume.spacing, settings.volume.intensity)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("MSD04", "segmentation", "MSD04-Hippocampus"),
        ("VerSe20", "segmentation", "released for nnU-Net only"),
        ("IXI", "segmentation", "notebook 09_register"),
        ("BTCV", "segmentation", "14 classes with the background, got 2"),
        ("SLIVER07", "classification", "goes with segmentation"),
    ],
)
def test_published_settings_that_do_not_fit_are_refused(tmp_path, boxes, capsys, name, kind, said):
    assert finetune(tmp_path / "run", "--data", boxes, "--published", name, task=kind) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("error:") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("data", "said"), [("population", "Name a folder in MSD layout with --data"), ("nothing", "dataset.json")]
)
def test_a_published_task_needs_its_own_data(tmp_path, capsys, data, said):
    assert finetune(tmp_path / "run", "--data", data, "--published", "SLIVER07") == 2
    assert said in capsys.readouterr().err


# Where it starts


def test_from_scratch_has_network_and_preparation_of_the_run_and_fresh_weights_of_the_seed(pre):
    start = Finetune(start=str(pre)).prepared_start()
    control = Finetune(start=str(pre), from_scratch=True).prepared_start()
    again = Finetune(start=str(pre), from_scratch=True).prepared_start()
    assert control.config == start.config and control.config.norm == "group"
    assert control.volume == start.volume and control.volume.size == (32, 32, 16)
    assert not same_weights(control.encoder.state_dict(), start.encoder.state_dict())
    assert same_weights(control.encoder.state_dict(), again.encoder.state_dict())
    seeded = Finetune(start=str(pre), from_scratch=True, train=FinetuneConfig(seed=1)).prepared_start()
    assert not same_weights(control.encoder.state_dict(), seeded.encoder.state_dict())


def test_the_intensity_can_be_chosen_with_fresh_weights_and_with_a_checkpoint(pre):
    fresh = Finetune(preset="ci", intensity="mr").prepared_start()
    assert fresh.volume == VolumeConfig("mr", spacing=None, foreground=None, size=(48, 48, 48))
    assert Finetune(start=str(pre), intensity="ct-chest").prepared_start().volume.intensity == "ct-chest"
    assert Finetune(start=str(pre)).prepared_start().volume.intensity == "ct-abdomen"


@pytest.mark.parametrize(("given", "intensity"), [(("mr",), "mr"), (("0", "600"), (0.0, 600.0))])
def test_an_intensity_is_a_name_or_a_window(given, intensity, monkeypatch):
    ran = []
    monkeypatch.setattr(Finetune, "run", lambda self: ran.append(self))
    assert main(["finetune", "--intensity", *given]) == 0
    assert ran[0].intensity == intensity


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "segmentation-population-scratch"),
        ({"from_scratch": True}, "segmentation-population-scratch"),
        ({"start": "runs/laptop-1.5mm", "data": "my/Task09/"}, "segmentation-Task09-from-laptop-1.5mm"),
        ({"start": "runs/one/final.pt"}, "segmentation-population-from-one"),
        ({"start": "runs/one/checkpoints/step-00000200.pt"}, "segmentation-population-from-one-step-00000200"),
        ({"start": "best.pt", "task": "registration"}, "registration-population-from-best"),
        ({"start": "runs/one", "from_scratch": True}, "segmentation-population-scratch-as-one"),
    ],
)
def test_runs_that_start_elsewhere_lie_elsewhere(options, name):
    assert Finetune(**options).default_folder() == Path("runs") / name


def test_another_start_in_the_same_folder_is_told_the_way_out(tmp_path, pre, boxes, capsys):
    small = ("--data", boxes, "--patch-size", 32, 32, 16, "--validation", 0, "--test", 0, "--from", pre)
    assert finetune(tmp_path, *small) == 0
    assert finetune(tmp_path, *small, "--from-scratch") == 2
    assert "--train.run-folder" in capsys.readouterr().err


@pytest.mark.parametrize("above", [1, 2])
def test_a_folder_of_runs_is_told_which_runs_it_holds(pre, capsys, above):
    assert main(["finetune", "--from", str(pre.parents[above - 1])]) == 2
    error = capsys.readouterr().err
    assert "holds neither final.pt nor checkpoints" in error and f"{pre}: give one of these" in error


# Interruptions


@pytest.mark.parametrize("task", ["segmentation", "classification", "registration", "vision-language"])
def test_every_task_stores_a_checkpoint_at_each_look_at_the_validation_subjects(task):
    train = recipe(task).train
    assert 0 < train.checkpoint_every == train.gauge_every < train.steps


def test_an_interrupted_run_goes_on_from_its_newest_checkpoint(tmp_path, boxes, capsys, monkeypatch):
    seen = []

    def called(record, network):
        seen.append(record["step"])
        if len(seen) == 3:
            raise KeyboardInterrupt

    def run(folder):
        steps = ("--train.steps", 4, "--train.log-every", 1, "--train.checkpoint-every", 2)
        return finetune(folder, "--data", boxes, *COARSE, "--validation", 1, "--test", 0, *steps)

    assert run(tmp_path / "whole") == 0
    monkeypatch.setattr("voco_lite.downstream.fit", lambda task, config: fit(task, config, [called]))
    assert run(tmp_path / "cut") == 130
    assert "continues from the newest checkpoint" in capsys.readouterr().err
    assert run(tmp_path / "cut") == 0
    assert seen == [1, 2, 3, 3, 4]
    ends = [load_checkpoint(tmp_path / name / "final.pt")["model"] for name in ("whole", "cut")]
    assert same_weights(*ends)


# Tasks


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
        ("vision-language", {"size": "64 64 64", "train.batch-size": "16", "topics": "contrast_phase"}),
        ("classification", {"patch-size": "32 32 32", "train.batch-size": "2", "attribute": "contrast_phase"}),
    ],
)
def test_each_task_has_defaults_of_its_own(task, defaults, capsys):
    assert main(["finetune", task, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, value in defaults.items():
        after = said.split(f"--{name} ", 1)[1]
        assert after.split("(default: ", 1)[1].startswith(f"{value})"), name


@pytest.mark.parametrize(
    ("task", "notebook"),
    [
        ("segmentation", "07_segment"),
        ("classification", "08_classify"),
        ("registration", "09_register"),
        ("vision-language", "10_align"),
    ],
)
def test_the_defaults_of_a_task_are_those_of_its_notebook(task, notebook):
    source = (ROOT / "notebooks" / "_source" / f"{notebook}.py").read_text(encoding="utf-8")

    def numbers(pattern):
        return tuple(float(number) for number in re.search(pattern, source).groups())

    command = recipe(task)
    [steps] = numbers(r'STEPS = STEPS or {"laptop": (\d+)')
    [looks] = numbers(r"gauge_every=max\(STEPS // (\d+), 1\)")
    groups = numbers(r'{"laptop": \(\(?(\d+), (\d+), (\d+)\)')
    assert (command.subjects, command.validation, command.test) == groups
    assert (command.train.steps, command.train.gauge_every) == (steps, steps // looks)
    assert (command.train.learning_rate,) == numbers(r"learning_rate=([\de.-]+),")


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
