"""The command line: help, training on made data and on a folder, official mode, errors with exit code 2."""

import contextlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from tiny_run import trace
from voco_lite import samples
from voco_lite.checkpoints import load_checkpoint, load_model
from voco_lite.cli import Pretrain, main
from voco_lite.config import EncoderConfig
from voco_lite.encoders import SwinEncoder, build_encoder
from voco_lite.official_weights import KNOWN_FILES
from voco_lite.train import History

# Small enough for seconds: 2 x 2 base crops of 16 voxels, two steps, no gauges.
TINY = shlex.split(
    "--preset ci --crops.cells 2 2 1 --volume.size 32 32 16 --objective.projector-dim 16 --train.steps 2 "
    "--train.batch-size 2 --train.device cpu --train.precision fp32 --train.no-progress --held-out 0"
)


def pretrain(run_folder, *arguments):
    return main(["pretrain", *TINY, "--train.run-folder", str(run_folder), *map(str, arguments)])


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A folder of five small CTs as NIfTI files, in HU."""
    folder = tmp_path_factory.mktemp("scans")
    chance = np.random.default_rng(0)
    for number in range(5):
        hu = chance.normal(40, 80, (24, 24, 16)).astype(np.int16)
        (folder / f"patient {number}").mkdir()
        image = nibabel.Nifti1Image(hu, np.diag([2.0, 2.0, 3.0, 1.0]))
        nibabel.save(image, folder / f"patient {number}" / "ct.nii.gz")
    return folder


# Help


def test_without_arguments_the_commands_are_listed(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("pretrain", "weights", "plan", "samples", "notebooks"))


def test_help_shows_the_options_of_every_part(capsys):
    assert main(["pretrain", "--help"]) == 0
    shown = capsys.readouterr().out
    for option in ("volume.spacing", "crops.cells", "encoder.name", "objective.mode", "train.learning-rate"):
        assert f"--{option}" in shown


def test_help_shows_the_values_of_the_preset_it_is_asked_for(capsys):
    main(["pretrain", "--preset", "cvpr24", "--help"])
    assert "(default: 250000)" in capsys.readouterr().out


def test_the_module_runs_and_its_output_may_be_cut_short():
    command = f"{sys.executable} -m voco_lite pretrain --help | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("usage: python -m voco_lite") and "Traceback" not in done.stderr


# Training


def test_a_folder_of_scans_is_trained_on(scans, tmp_path, capsys):
    assert pretrain(tmp_path / "run", "--data", scans) == 0
    assert f"Run folder: {tmp_path / 'run'}" in capsys.readouterr().out
    entries = load_checkpoint(tmp_path / "run" / "final.pt")
    assert entries["step"] == 2 and entries["provenance"]["data"]["volumes"] == 5


def test_scans_may_be_held_out_from_the_end_of_the_folder(scans, tmp_path, capsys):
    assert pretrain(tmp_path, "--data", scans, "--held-out", 2) == 0
    assert "position top-1 across subjects: 0." in capsys.readouterr().out
    sources = load_checkpoint(tmp_path / "final.pt")["provenance"]["data"]["sources"]
    assert len(sources) == 3 and not any("patient 4" in source for source in sources)


def test_scans_of_another_folder_may_be_held_out(scans, tmp_path):
    assert pretrain(tmp_path, "--data", scans, "--held-out", scans / "patient 0") == 0
    assert History.load(tmp_path).last_held_out is not None


@pytest.fixture
def own_scans(scans, tmp_path):
    """A copy of the scans that nothing has been prepared of."""
    return shutil.copytree(scans, tmp_path / "scans", ignore=shutil.ignore_patterns(".*"))


def entries_of(cache):
    """Names and dates of what a cache holds."""
    return sorted((path.name, path.stat().st_mtime_ns) for path in cache.iterdir())


def test_runs_share_the_scans_that_one_of_them_has_prepared(own_scans, tmp_path):
    assert pretrain(tmp_path / "cold", "--data", own_scans) == 0
    entries = entries_of(own_scans / ".voco_lite_prepared")
    assert pretrain(tmp_path / "warm", "--data", own_scans) == 0
    assert len(entries) >= 2 and entries_of(own_scans / ".voco_lite_prepared") == entries
    cold, warm = (load_checkpoint(tmp_path / run / "final.pt")["model"] for run in ("cold", "warm"))
    assert all(torch.equal(value, warm[name]) for name, value in cold.items())


@pytest.mark.parametrize("named", [False, True])
def test_the_cache_may_be_named_and_lies_in_the_users_where_nothing_can_be_written(
    named, own_scans, tmp_path, monkeypatch
):
    monkeypatch.setenv("VOCO_LITE_DATA", str(tmp_path / "users"))
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != own_scans or mode != os.W_OK)
    options = ["--cache", tmp_path / "named"] if named else []
    assert pretrain(tmp_path / "run", "--data", own_scans, *options) == 0
    assert len(entries_of(tmp_path / ("named" if named else "users/prepared"))) >= 2
    assert not list(own_scans.glob(".*"))


def test_phantoms_are_trained_on(tmp_path, monkeypatch):
    monkeypatch.setenv("VOCO_LITE_DATA", str(tmp_path / "data"))
    assert pretrain(tmp_path / "run", "--data", "phantoms", "--subjects", 2) == 0
    [first, _] = load_checkpoint(tmp_path / "run" / "final.pt")["provenance"]["data"]["sources"]
    assert first == "phantom, seed 0"


def test_an_option_beside_the_preset_counts(scans, tmp_path):
    assert pretrain(tmp_path, "--data", scans, "--objective.name", "cvpr24-head", "--encoder.norm", "group") == 0
    config = load_model(tmp_path).config
    assert (config.objective.name, config.encoder.norm, config.train.warmup_steps) == ("cvpr24-head", "group", 5)


def test_official_mode_brings_all_released_rules(scans, tmp_path):
    assert pretrain(tmp_path, "--data", scans, "--objective.mode", "official", "--encoder.merging", "current") == 0
    config = load_model(tmp_path).config
    assert config.objective.mode == "official"
    assert config.crops.open_border and config.train.start_at_zero and not config.train.reshuffle


@pytest.mark.parametrize(("name", "reshuffle"), [("tpami25", False), ("cvpr24", True)])
def test_official_rules_are_those_of_the_named_objective(monkeypatch, name, reshuffle):
    seen = []
    monkeypatch.setattr(Pretrain, "run", lambda command: seen.append(command))
    assert main(["pretrain", "--objective.mode", "official", f"--objective.name={name}"]) == 0
    assert seen[0].objective.name == name and seen[0].train.reshuffle is reshuffle


def test_the_same_command_returns_what_is_finished(scans, tmp_path):
    assert pretrain(tmp_path, "--data", scans) == 0
    before = trace(History.load(tmp_path))
    assert pretrain(tmp_path, "--data", scans) == 0
    assert trace(History.load(tmp_path)) == before


# Samples


def test_samples_are_listed(capsys):
    assert main(["samples"]) == 0
    shown = capsys.readouterr().out
    assert all(entry["name"] in shown for entry in samples.catalogue())


def test_samples_are_fetched_by_name(monkeypatch, capsys):
    monkeypatch.setattr(samples, "fetch", lambda name: f"{name}: fetched")
    assert main(["samples", "fetch", "abdomen-ct"]) == 0
    assert capsys.readouterr().out == "abdomen-ct: fetched\n"


def test_only_the_named_samples_are_checked(monkeypatch, capsys):
    monkeypatch.setattr(samples, "check", lambda names: [f"checked {names}"])
    assert main(["samples", "check", "abdomen-ct"]) == 0
    assert capsys.readouterr().out == "checked ('abdomen-ct',)\n"


def test_a_fetch_that_fails_says_that_phantoms_are_used(monkeypatch, capsys):
    def fail(name):
        raise samples.FetchError(f"{name} needs a network. Phantoms are used instead.")

    monkeypatch.setattr(samples, "fetch", fail)
    assert main(["samples", "fetch"]) == 2
    assert "Phantoms are used instead" in capsys.readouterr().err


# Notebooks


def test_notebooks_are_listed(capsys):
    assert main(["notebooks"]) == 0
    assert "02_base_crops_and_position_labels\n" in capsys.readouterr().out


def test_a_notebook_gets_its_parameters_typed(monkeypatch, capsys):
    from voco_lite import notebooks

    monkeypatch.setattr(notebooks, "run", lambda *arguments, **_: {"called": arguments[:3]})
    arguments = ["-p", "STEPS", "20", "-p", "SIZE", "ci", "-p", "RATE", "1e-3", "--out-folder", "there"]
    assert main(["notebooks", "run", "05_pretrain", *arguments]) == 0
    values = {"STEPS": 20, "SIZE": "ci", "RATE": 1e-3}
    assert json.loads(capsys.readouterr().out)["called"] == ["05_pretrain", values, "there"]


def test_running_no_notebook_lists_their_names(capsys):
    assert main(["notebooks", "run"]) == 2
    assert "needs a target" in capsys.readouterr().err


# Errors: exit code 2, one line, what to do

WRONG = {
    "unknown preset": (["pretrain", "--preset", "huge"], "preset must be one of"),
    "absent folder": (["pretrain", *TINY, "--data", "absent"], "There is no folder absent"),
    "held out is neither": (["pretrain", *TINY, "--held-out", "some"], "must be a number or a folder, got 'some'"),
    "unknown sample": (["samples", "fetch", "brain"], "name must be one of"),
    "folder without results": (["notebooks", "summary", "absent"], "results.json"),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG.values(), ids=WRONG)
def test_wrong_input_ends_with_one_line_and_code_2(arguments, said, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1 and said in printed


def test_an_unknown_option_suggests_the_right_one(capsys):
    assert main(["pretrain", "--train.stps", "3"]) == 2
    assert "--train.steps" in capsys.readouterr().err


def test_a_value_out_of_range_ends_with_code_2(capsys):
    assert main(["pretrain", "--train.steps", "0"]) == 2
    assert "must be at least 1" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_holding_out_every_scan_is_refused(scans, tmp_path, capsys):
    assert pretrain(tmp_path, "--data", scans, "--held-out", 5) == 2
    assert "must leave volumes to train on, got 5 of 5" in capsys.readouterr().err


def test_a_broken_scan_is_named(scans, tmp_path, capsys):
    broken = tmp_path / "scans"
    broken.mkdir()
    for number in range(2):
        content = (scans / f"patient {number}" / "ct.nii.gz").read_bytes()
        (broken / f"{number}.nii.gz").write_bytes(content[: len(content) // (1 + number)])
    assert pretrain(tmp_path / "run", "--data", broken) == 2
    assert str(Path(broken) / "1.nii.gz") in capsys.readouterr().err


def test_a_run_with_other_settings_is_refused(scans, tmp_path, capsys):
    assert pretrain(tmp_path, "--data", scans) == 0
    assert pretrain(tmp_path, "--data", scans, "--train.learning-rate", "0.5") == 2
    assert "learning_rate: 0.001 -> 0.5" in capsys.readouterr().err


def test_an_interrupt_says_how_to_go_on(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(samples, "catalogue", stop)
    assert main(["samples"]) == 130
    assert "continues from the newest checkpoint" in capsys.readouterr().err


# Weights


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """A small weight file with the released names."""
    file = tmp_path_factory.mktemp("official") / "VoCo_tiny.pt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        torch.save({"state_dict": {f"module.backbone.{k}": v for k, v in SwinEncoder(12).state_dict().items()}}, file)
    return file


@pytest.fixture(scope="module")
def swin_run(scans, official, tmp_path_factory):
    """The folder of a run that started from the weights, its arguments, and what it printed."""
    folder = tmp_path_factory.mktemp("swin") / "run"
    options = "--encoder.name swin-tiny --crops.crop-size 64 64 64 --crops.cells 2 1 1 --crops.random-crops 1"
    size = "--volume.size 128 64 64 --train.steps 1"
    arguments = ["--data", scans, *options.split(), *size.split(), "--weights", official]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert pretrain(folder, *arguments, "--allow-unverified") == 0
    return folder, arguments, printed.getvalue()


def test_released_weights_are_listed_with_size_and_digest(capsys):
    assert main(["weights"]) == 0
    shown = capsys.readouterr().out
    for file in KNOWN_FILES.values():
        assert file.name in shown and file.digest in shown and file.size in shown


def test_a_file_is_loaded_into_the_encoder_that_fits_and_reported(official, capsys):
    assert main(["weights", "load", str(official), "--allow-unverified"]) == 0
    shown = capsys.readouterr().out
    assert "feature size 12 (swin-tiny)" in shown and "loaded      145 tensors" in shown and "legacy" in shown


def test_nnunet_weights_are_loaded_into_the_plain_conv_encoder_whole(tmp_path, capsys):
    file = tmp_path / "nnunet.pt"
    state = build_encoder(EncoderConfig("plain-conv", norm="instance")).state_dict()
    torch.save({"network_weights": state}, file)
    assert main(["weights", "load", str(file), "--encoder", "plain-conv", "--allow-unverified"]) == 0
    assert f"loaded      {len(state)} tensors" in capsys.readouterr().out


def test_an_unknown_file_is_loaded_and_reported_as_unverified(official, capsys):
    assert main(["weights", "load", str(official)]) == 0
    assert "unverified: no released file" in capsys.readouterr().out


def test_a_released_name_with_another_digest_is_refused(official, tmp_path, capsys):
    file = tmp_path / "VoCo_B_SSL_head.pt"
    file.write_bytes(official.read_bytes())
    assert main(["weights", "load", str(file)]) == 2
    assert "allow_unverified" in capsys.readouterr().err


def test_weights_that_are_nowhere_name_the_released_ones(capsys):
    assert main(["weights", "load", "absent.pt"]) == 2
    assert "VoCo_B_SSL_head.pt" in capsys.readouterr().err


def test_a_released_name_is_fetched(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("voco_lite.official_weights.download_official_weights", lambda name: tmp_path / name)
    assert main(["weights", "fetch", "VoComni_B.pt"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "VoComni_B.pt")


def test_a_fetch_without_network_ends_with_one_line(monkeypatch, capsys):
    def fail(name):
        raise ConnectionError(f"{name} could not be fetched. Download it elsewhere.")

    monkeypatch.setattr("voco_lite.official_weights.starting.download_official_weights", fail)
    assert main(["weights", "load", "VoComni_B.pt"]) == 2
    assert capsys.readouterr().err == "error: VoComni_B.pt could not be fetched. Download it elsewhere.\n"


def test_loading_nothing_says_what_to_give(capsys):
    assert main(["weights", "export"]) == 2
    assert "needs a run folder" in capsys.readouterr().err


def test_a_run_starts_from_weights_with_declared_fresh_heads(swin_run, official):
    folder, _, printed = swin_run
    assert "loaded      145 tensors" in printed and "Fresh: the projector" in printed
    entries = load_checkpoint(folder / "final.pt")
    assert entries["provenance"]["started_from"]["file"] == official.name
    assert entries["config"]["encoder"]["merging"] == "legacy"
    # One step of a warm-up moves a weight by less than its learning rate.
    name = "swinViT.patch_embed.proj.weight"
    given = torch.load(official, weights_only=True)["state_dict"][f"module.backbone.{name}"]
    torch.testing.assert_close(entries["model"][f"encoder.{name}"], given, rtol=0, atol=2e-3)


def test_a_run_is_not_resumed_from_other_weights(swin_run, capsys):
    folder, arguments, _ = swin_run
    assert pretrain(folder, *arguments[:-2], "--encoder.merging", "legacy") == 2
    assert "started_from" in capsys.readouterr().err


def test_weights_with_a_wrong_digest_are_refused_before_training(swin_run, official, tmp_path, capsys):
    _, arguments, _ = swin_run
    file = tmp_path / "VoCo_B_SSL_head.pt"
    file.write_bytes(official.read_bytes())
    assert pretrain(tmp_path / "run", *arguments[:-1], file) == 2
    assert "allow_unverified" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_trained_encoder_is_exported_for_monai(swin_run, tmp_path, capsys):
    folder, _, _ = swin_run
    target = tmp_path / "swinunetr.pt"
    assert main(["weights", "export", str(folder), "--out", str(target), "--out-channels", "5"]) == 0
    shown = capsys.readouterr().out
    assert "LegacyPatchMerging" in shown and shown.rstrip().endswith(str(target))
    state = torch.load(target, weights_only=True)
    assert state["out.conv.conv.weight"].shape[0] == 5
    trained = load_checkpoint(folder / "final.pt")["model"]["encoder.encoder10.layer.conv1.conv.weight"]
    assert torch.equal(state["encoder10.layer.conv1.conv.weight"], trained)
