"""Official weight files: recognised, read safely, matched by name, reported, and written for MONAI."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from voco_lite.config import PretrainConfig
from voco_lite.encoders.plain_conv import PlainConvEncoder
from voco_lite.encoders.swin import SwinEncoder
from voco_lite.model import VoCo
from voco_lite.official_weights import (
    KNOWN_FILES,
    LegacyPatchMerging,
    LoadReport,
    describe_weights,
    download_official_weights,
    export_swinunetr,
    identify,
    load_official_weights,
    merging_of,
    set_merging,
)
from voco_lite.official_weights import known as known_module
from voco_lite.official_weights.loading import copy_tensors, match_names
from voco_lite.official_weights.reading import plain_names, read_weights, unwrap

GOLDEN = Path(__file__).parent / "golden"
KEYS = json.loads((GOLDEN / "ckpt_keys_B.json").read_text())
ENCODER_SHAPES = {name: tuple(shape) for name, shape in dict(KEYS["backbone_keys"]).items()}
LOADER_CASES = [f"ckpt_loader_{i:02d}" for i in range(0, 12, 2)]


def released_state(feature_size: int = 12, prefix: str = "", **options: Any) -> dict[str, Tensor]:
    """A state dict under the released names, made small; no two numbers of a tensor are equal."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        state = SwinEncoder(feature_size, **options).state_dict()
    assert set(state) == set(ENCODER_SHAPES)
    return {prefix + name: tensor for name, tensor in state.items()}


def saved(folder: Path, content: Any, name: str = "weights.pt") -> Path:
    torch.save(content, folder / name)
    return folder / name


def fresh(**options: Any) -> SwinEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return SwinEncoder(12, **options)


def load(model: nn.Module, file: Path, **options: Any) -> LoadReport:
    return load_official_weights(model, file, allow_unverified=True, **options)


def voco_config(**changes: Any) -> PretrainConfig:
    return PretrainConfig.preset("laptop", encoder__name="swin-tiny", crop_size=(64, 64, 64), **changes)


# Reading and matching


@pytest.mark.parametrize("wrapper", [None, "state_dict", "network_weights", "net", "student"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "student."])
def test_every_encoder_tensor_is_found_behind(wrapper, prefix, tmp_path):
    state = released_state(prefix=prefix)
    encoder = fresh()
    report = load(encoder, saved(tmp_path, {wrapper: state, "global_step": 3} if wrapper else state))
    assert len(report.loaded) == 145 and not report.missing and not report.ignored
    assert all(torch.equal(tensor, state[prefix + name]) for name, tensor in encoder.state_dict().items())


def test_old_name_of_the_transformer_is_understood():
    assert plain_names({"module.swin_vit.patch_embed.proj.bias": torch.zeros(1)}).keys() == {
        "swinViT.patch_embed.proj.bias"
    }


@pytest.mark.parametrize("case", LOADER_CASES)
def test_tensors_reach_the_places_where_the_released_loader_puts_them(case):
    golden = np.load(GOLDEN / "ckpt_loader.npz", allow_pickle=False)

    def part(name: str) -> dict[str, Tensor]:
        start = f"{case}/{name}/"
        return {key.removeprefix(start): torch.from_numpy(golden[key]) for key in golden.files if key.startswith(start)}

    content: dict[str, Any] = part("in/ckpt")
    wrapper = np.atleast_1d(golden[f"{case}/in/wrapper"])[0]
    state = plain_names(unwrap({str(wrapper): content} if wrapper else content))
    match = match_names(part("in/init"), state)
    assert sorted(match.fitting) == sorted(golden[f"{case}/out/loaded"].tolist())
    final = part("out/final")
    assert all(torch.equal(tensor, final[name]) for name, tensor in match.fitting.items())


def test_projector_and_teacher_of_a_training_checkpoint_are_ignored_and_listed(tmp_path):
    state = released_state(prefix="backbone.")
    state |= {"student.layer1.0.weight": torch.zeros(2, 2), "teacher.layer1.0.weight": torch.zeros(2, 2)}
    report = load(fresh(), saved(tmp_path, {"state_dict": state}))
    assert report.ignored == ("layer1.0.weight", "teacher.layer1.0.weight")


def test_nnunet_names_reach_the_plain_conv_encoder(tmp_path):
    source, target = PlainConvEncoder("instance", channels=(4, 8)), PlainConvEncoder("instance", channels=(4, 8))
    state = {f"encoder.{name}": tensor for name, tensor in source.state_dict().items()}
    report = load(target, saved(tmp_path, {"network_weights": state}))
    assert report.merging is None and torch.equal(
        target.stages[1][0].convs[0].conv.weight, source.stages[1][0].convs[0].conv.weight
    )


@pytest.mark.parametrize(("name", "width"), [("L", 96), ("H", 192)])
def test_names_and_shapes_of_the_larger_files_fit_on_the_meta_device(name, width):
    def scaled(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        if key.endswith(("relative_position_index", "relative_position_bias_table")):
            return shape
        return tuple(size * width // 48 if size % 12 == 0 else size for size in shape)

    with torch.device("meta"):
        encoder = SwinEncoder(width)
        state = {key: torch.empty(scaled(key, shape)) for key, shape in ENCODER_SHAPES.items()}
    match = match_names(encoder.state_dict(), state)
    copy_tensors(encoder, match)
    assert len(match.fitting) == 145 and not match.mismatched and not match.missing


# Safety


class Dangerous:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_file_that_would_run_code_is_refused_unread(tmp_path, capsys):
    with pytest.raises(ValueError, match="cannot be read safely"):
        load(fresh(), saved(tmp_path, {"state_dict": Dangerous()}))
    assert "executed" not in capsys.readouterr().out


def test_an_unknown_file_is_loaded_and_reported_as_unverified(tmp_path):
    report = load_official_weights(fresh(), saved(tmp_path, released_state()))
    assert report.identity is None and "unverified: no released file" in str(report)


def test_a_released_name_with_another_digest_is_refused_with_the_way_out(tmp_path):
    file = saved(tmp_path, released_state(), "VoCo_B_SSL_head.pt")
    with pytest.raises(ValueError, match="allow_unverified=True"):
        load_official_weights(fresh(), file)
    assert "unverified" in str(load_official_weights(fresh(), file, allow_unverified=True))


def test_a_released_name_without_a_published_digest_loads_and_says_so(tmp_path):
    file = saved(tmp_path, {"state_dict": released_state(prefix="module.")}, "VoCo_10k.pt")
    report = load_official_weights(fresh(), file)
    assert report.identity is None and "no published digest" in str(report)


def test_a_file_without_a_published_digest_is_not_fetched():
    with pytest.raises(ValueError, match="published digest"):
        download_official_weights("VoComni_nnunet.pt")


def test_a_training_checkpoint_with_its_optimizer_is_refused_in_one_plain_line(tmp_path):
    encoder = fresh()
    content = {"global_step": 3, "state_dict": released_state(), "optimizer": torch.optim.AdamW(encoder.parameters())}
    with pytest.raises(ValueError, match="2024 training checkpoints") as caught:
        load(encoder, saved(tmp_path, content))
    message = str(caught.value)
    assert "torch.save(torch.load(" in message
    assert not any(part in message for part in ("\n", "\x1b", "weights_only"))


def test_a_known_digest_is_accepted_and_named(tmp_path, monkeypatch):
    file = saved(tmp_path, released_state())
    entry = dataclasses.replace(KNOWN_FILES["VoCo_B_SSL_head.pt"], sha256=identify(file)[1], md5=None)
    monkeypatch.setitem(known_module.KNOWN_FILES, entry.name, entry)
    report = load_official_weights(fresh(), file)
    assert report.identity == "VoCo_B_SSL_head.pt" and report.merging == "legacy"


def test_a_second_digest_must_agree_too(tmp_path, monkeypatch):
    file = saved(tmp_path, released_state())
    entry = dataclasses.replace(KNOWN_FILES["VoCo_B_SSL_head.pt"], sha256=identify(file)[1])
    monkeypatch.setitem(known_module.KNOWN_FILES, entry.name, entry)
    assert identify(file)[0] is None


def test_digests_are_complete_and_differ():
    digests = [file.sha256 for file in KNOWN_FILES.values() if file.sha256]
    assert len(set(digests)) == len(digests) == 6 and all(re.fullmatch("[0-9a-f]{64}", one) for one in digests)


def test_a_truncated_file_is_refused(tmp_path):
    file = saved(tmp_path, released_state())
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged"):
        load(fresh(), file)


def test_a_missing_file_is_an_error_that_says_where_to_get_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="huggingface"):
        load(fresh(), tmp_path / "none.pt")


def test_a_file_without_tensors_is_refused(tmp_path):
    with pytest.raises(ValueError, match="tensors by name"):
        load(fresh(), saved(tmp_path, {"epoch": 3}))


@pytest.mark.parametrize("spoil", ["too few", "not finite", "other size"])
def test_a_refused_file_changes_nothing(spoil, tmp_path):
    state = released_state(24 if spoil == "other size" else 12)
    if spoil == "too few":
        state = {name: tensor for name, tensor in state.items() if name.startswith("swinViT.layers1")}
    if spoil == "not finite":
        state["encoder2.layer.conv1.conv.weight"][0] = torch.nan
    encoder, before = fresh(), fresh().state_dict()
    with pytest.raises(ValueError, match="finite|fit at least 95%"):
        load(encoder, saved(tmp_path, state))
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert encoder.merging == "current"


def test_a_lower_threshold_accepts_less(tmp_path):
    state = {name: tensor for name, tensor in released_state().items() if name.startswith("swinViT.")}
    report = load(fresh(), saved(tmp_path, state), threshold=0.9)
    assert len(report.loaded) == 134 and len(report.missing) == 11


# Merging


def test_official_weights_switch_the_encoder_to_legacy_merging(tmp_path):
    encoder = fresh()
    load(encoder, saved(tmp_path, released_state()))
    assert encoder.merging == "legacy"


def test_a_voco_model_is_rebuilt_from_its_checkpoint_with_legacy_merging(tmp_path):
    model = VoCo(voco_config())
    report = load(model, saved(tmp_path, released_state()))
    assert VoCo(model.config).encoder.merging == "legacy" and len(report.loaded) == 145


def test_loading_a_voco_model_leaves_its_projector_alone(tmp_path):
    model = VoCo(voco_config())
    before = {name: tensor.clone() for name, tensor in model.projector.state_dict().items()}
    load(model, saved(tmp_path, released_state()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.projector.state_dict().items())


def test_monai_with_legacy_merging_equals_our_legacy_encoder(tmp_path):
    nets = importlib.import_module("monai.networks.nets")
    file = saved(tmp_path, released_state())
    ours, theirs = fresh(), nets.SwinUNETR(1, 2, feature_size=12, use_v2=True)
    report = load(theirs, file)
    load(ours, file)
    crop = torch.rand(1, 1, 32, 32, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for a, b in zip(ours.swinViT(crop)[1:4], theirs.swinViT(crop, True)[1:4], strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
    assert merging_of(theirs) == "legacy" and any("decoder" in note for note in report.notes)


def test_setting_the_merging_of_monai_back_keeps_its_weights():
    nets = importlib.import_module("monai.networks.nets")
    network = nets.SwinUNETR(1, 2, feature_size=12, use_v2=True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    set_merging(network, "legacy")
    set_merging(network, "current")
    assert merging_of(network) == "current"
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_legacy_merging_serves_as_monai_downsample():
    nets = importlib.import_module("monai.networks.nets")
    network = nets.SwinUNETR(1, 2, feature_size=12, use_v2=True, downsample=LegacyPatchMerging)
    assert merging_of(network) == "legacy"


# Channels


def test_three_tensors_keep_their_values_for_more_channels(tmp_path):
    encoder, before = fresh(in_channels=4), fresh(in_channels=4).state_dict()
    report = load(encoder, saved(tmp_path, released_state()))
    names = {one.name for one in report.mismatched}
    assert names == {
        "swinViT.patch_embed.proj.weight", "encoder1.layer.conv1.conv.weight", "encoder1.layer.conv3.conv.weight",
    }  # fmt: skip
    assert all(torch.equal(encoder.state_dict()[name], before[name]) for name in names)


def test_inflated_channels_give_equal_features_for_equal_channels(tmp_path):
    file = saved(tmp_path, released_state())
    one, four = fresh(), fresh(in_channels=4)
    load(one, file)
    report = load(four, file, inflate_channels=True)
    crop = torch.rand(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    assert len(report.inflated) == 3 and not report.mismatched
    with torch.no_grad():
        expected = one.swinViT.patch_embed(crop)
        torch.testing.assert_close(four.swinViT.patch_embed(crop.expand(1, 4, 64, 64, 64)), expected)


# Report


def test_the_report_says_what_was_loaded_and_why_not(tmp_path):
    state = released_state() | {"teacher.layer1.0.weight": torch.zeros(2)}
    text = str(load(fresh(in_channels=2), saved(tmp_path, state)))
    for part in ("loaded      142 tensors", "ignored     1 tensors: teacher (1)", "merging     legacy",
                 "model (12, 2, 2, 2, 2), file (12, 1, 2, 2, 2)", "take one channel", "unverified"):  # fmt: skip
        assert part in text


def test_a_file_is_described_without_a_model(tmp_path):
    text = describe_weights(saved(tmp_path, {"state_dict": released_state(prefix="module.backbone.")}))
    for part in (
        "no released file",
        "tensors   145",
        "feature size 12 (swin-tiny), 1 input",
        "decoder   none",
        "legacy",
    ):
        assert part in text


# Export


def exported(encoder: nn.Module, folder: Path, out_channels: int | None = 3) -> Path:
    """An exported file; the warning that a legacy encoder brings is tested elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return export_swinunetr(encoder, folder / "swin.pt", out_channels=out_channels)


def monai_features(network: nn.Module, crop: Tensor) -> Tensor:
    """The deepest map of MONAI's network, on which every output depends."""
    with torch.no_grad():
        return network.encoder10(network.swinViT(crop, True)[4])  # type: ignore[operator]


@pytest.mark.parametrize("merging", ["current", "legacy"])
def test_an_exported_file_computes_the_same_in_monai_told_its_merging(merging, tmp_path):
    nets = importlib.import_module("monai.networks.nets")
    encoder = fresh(merging=merging)
    content = torch.load(exported(encoder, tmp_path), weights_only=True)
    crop = torch.rand(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = encoder(crop).maps[-1]
    told = {"current": {}, "legacy": {"downsample": LegacyPatchMerging}}
    features = {}
    for name, options in told.items():
        network = nets.SwinUNETR(1, 3, feature_size=12, use_v2=True, **options)
        network.load_state_dict(content, strict=True)
        features[name] = monai_features(network, crop)
    torch.testing.assert_close(features.pop(merging), ours, atol=1e-4, rtol=0)
    (other,) = features.values()
    assert float((other - ours).abs().max()) > 0.1


def test_an_export_warns_where_plain_monai_computes_something_else_and_prints_the_order_otherwise(tmp_path, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_swinunetr(fresh(merging="current"), tmp_path / "current.pt", out_channels=None)
    assert '"current" patch merging' in capsys.readouterr().out
    with pytest.warns(UserWarning, match='"legacy" patch merging.*LegacyPatchMerging'):
        export_swinunetr(fresh(merging="legacy"), tmp_path / "legacy.pt", out_channels=None)


@pytest.mark.parametrize("merging", ["current", "legacy"])
def test_the_merging_of_an_exported_file_comes_back(merging, tmp_path):
    file = exported(fresh(merging=merging), tmp_path, None)
    encoder = fresh(merging="legacy" if merging == "current" else "current")
    load(encoder, file)
    assert encoder.merging == merging and read_weights(file)[1]["feature_size"] == 12


def test_an_export_without_decoder_has_the_released_names(tmp_path):
    file = exported(VoCo(voco_config()), tmp_path, None)
    content = torch.load(file, weights_only=True)
    assert isinstance(content, OrderedDict) and set(content) == set(ENCODER_SHAPES)


def test_an_encoder_without_a_swin_cannot_be_exported(tmp_path):
    with pytest.raises(ValueError, match="without one"):
        export_swinunetr(PlainConvEncoder(channels=(4, 8)), tmp_path / "swin.pt")
    assert not list(tmp_path.iterdir())


# Download


def test_without_a_network_the_error_gives_the_address(monkeypatch, tmp_path):
    hub = importlib.import_module("huggingface_hub")

    def offline(*args: object, **options: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(hub, "hf_hub_download", offline)
    with pytest.raises(ConnectionError, match=r"huggingface\.co/Luffy503/VoCo/resolve/main/VoCo_B_SSL_head\.pt"):
        download_official_weights(folder=tmp_path)


def test_a_download_with_another_digest_is_refused(monkeypatch, tmp_path):
    hub = importlib.import_module("huggingface_hub")
    file = saved(tmp_path, {"a": torch.zeros(1)})
    monkeypatch.setattr(hub, "hf_hub_download", lambda *args, **options: str(file))
    with pytest.raises(ValueError, match="SHA-256"):
        download_official_weights(folder=tmp_path)


def test_an_unknown_name_is_refused_before_any_download():
    with pytest.raises(ValueError, match="VoCo_B_SSL_head"):
        download_official_weights("VoCo_XXL.pt")


# The plain conv encoder


def test_plain_conv_has_the_published_stages():
    encoder = PlainConvEncoder()
    assert encoder.channels == (32, 64, 128, 256, 320, 320) and encoder.strides == (1, 2, 4, 8, 16, 32)


@pytest.mark.parametrize(("norm", "size"), [("batch", 32), ("instance", 64)])
def test_plain_conv_gives_maps_of_its_channels_and_strides(norm, size):
    encoder = PlainConvEncoder(norm, channels=(4, 4, 8, 8, 8, 8))
    result = encoder(torch.rand(2, 1, size, size, size))
    shapes = [tuple(scale.shape[1:3]) for scale in result.maps]
    assert shapes == [(c, size // s) for c, s in zip(encoder.channels, encoder.strides, strict=True)]
    assert result.pooled.shape == (2, encoder.feature_dim)


def test_plain_conv_refuses_a_size_without_variance_in_its_last_stage():
    with pytest.raises(ValueError, match="at least 64"):
        PlainConvEncoder("instance", channels=(4, 4, 8, 8, 8, 8))(torch.rand(1, 1, 32, 32, 32))


# Going on from them


def started(tmp_path: Path, **changes: Any) -> tuple[VoCo, dict[str, Tensor], LoadReport]:
    from voco_lite.official_weights import start_from_weights

    model, state = VoCo(voco_config(**changes)), released_state()
    return model, state, start_from_weights(model, saved(tmp_path, state), allow_unverified=True)


def test_a_run_that_starts_from_weights_keeps_the_heads_of_its_seed(tmp_path):
    model, state, _ = started(tmp_path)
    fresh_heads = VoCo(voco_config()).projector.state_dict()
    assert all(torch.equal(tensor, fresh_heads[name]) for name, tensor in model.projector.state_dict().items())
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.encoder.state_dict().items())


def test_the_report_declares_what_is_fresh(tmp_path):
    _, _, report = started(tmp_path)
    assert "Fresh: the projector, " in str(report) and "Fresh: the teacher's projector, a copy of it." in str(report)


def test_a_teacher_that_copies_the_student_copies_the_loaded_encoder(tmp_path):
    model, state, report = started(tmp_path, objective__name="cvpr24")
    assert model.teacher_encoder is not None
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.teacher_encoder.state_dict().items())
    assert not any("keeps its weights" in note for note in report.notes)


def test_a_teacher_of_the_official_mode_keeps_its_random_encoder_and_the_report_says_so(tmp_path):
    model, state, report = started(tmp_path, objective__name="cvpr24", mode="official")
    assert model.teacher_encoder is not None
    name = "encoder10.layer.conv1.conv.weight"
    assert not torch.equal(model.teacher_encoder.state_dict()[name], state[name])
    assert any("The teacher's encoder keeps its weights" in note for note in report.notes)


def test_a_model_remembers_what_it_started_from(tmp_path):
    model, _, report = started(tmp_path)
    assert model.started_from == {"file": "weights.pt", "sha256": report.sha256, "identity": None}
