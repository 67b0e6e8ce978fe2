"""Files with the exact names and shapes of the released ones (method page, 4.2), made of numbers of our own."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from voco_lite.downstream.unet import SwinUNETR
from voco_lite.encoders.plain_conv import PlainConvEncoder
from voco_lite.encoders.swin import SwinEncoder
from voco_lite.official_weights import load_official_weights
from voco_lite.official_weights.loading import match_names

KEYS = json.loads((Path(__file__).parent / "golden" / "ckpt_keys_B.json").read_text())
ENCODER: dict[str, list[int]] = KEYS["backbone_keys"]
DECODER: dict[str, list[int]] = KEYS["decoder_keys"]
PROJECTOR = [f"layer{i}.0.{part}" for i in (1, 2, 3) for part in ("weight", "bias")]
WINDOW = ("relative_position_index", "relative_position_bias_table")


def shape_at(width: int, name: str) -> tuple[int, ...]:
    """The shape of B's tensor in a network of another feature size; windows and heads stay."""
    shape = tuple((ENCODER | DECODER)[name])
    return shape if name.endswith(WINDOW) else tuple(size * width // 48 if size % 12 == 0 else size for size in shape)


def tensors(names: list[str], width: int = 48) -> dict[str, Tensor]:
    """One tensor a name, of numbers that differ between tensors and within each."""
    made = {}
    for index, name in enumerate(names):
        shape = shape_at(width, name)
        if name.endswith("relative_position_index"):
            made[name] = torch.zeros(shape, dtype=torch.long)
        else:
            made[name] = torch.rand(shape, generator=torch.Generator().manual_seed(index)) + index
    return made


def monai_network(outputs: int, width: int = 12) -> nn.Module:
    nets = importlib.import_module("monai.networks.nets")
    return nets.SwinUNETR(1, outputs, feature_size=width, use_v2=True)  # type: ignore[no-any-return]


def saved(folder: Path, content: object, name: str) -> Path:
    torch.save(content, folder / name)
    return folder / name


def assert_holds(model: nn.Module, state: dict[str, Tensor]) -> None:
    own = model.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in state.items())


def test_the_lists_are_those_of_the_released_files():
    assert (len(ENCODER), len(DECODER)) == (145, 22)
    assert sum(name.startswith("swinViT.") for name in ENCODER) == 134
    assert ENCODER.keys() | DECODER.keys() == monai_network(21).state_dict().keys()


@pytest.mark.slow
def test_voco_b_loads_whole_into_swin_b(tmp_path):
    state = tensors(list(ENCODER))
    encoder = SwinEncoder(48)
    report = load_official_weights(encoder, saved(tmp_path, state, "VoCo_B_SSL_head.pt"), allow_unverified=True)
    assert len(report.loaded) == report.encoder_tensors == 145
    assert not (report.missing or report.mismatched or report.ignored) and report.merging == "legacy"
    assert_holds(encoder, state)


@pytest.mark.parametrize("width", [48, 96, 192], ids=["B", "L", "H"])
def test_the_167_names_of_an_omni_file_fit_the_whole_network_on_the_meta_device(width, monkeypatch):
    monkeypatch.setattr("voco_lite.downstream.task.digest", lambda _: "no numbers, no digest")
    with torch.device("meta"):
        network = SwinUNETR(SwinEncoder(width), 21)
        own = {name.removeprefix("encoder."): tensor for name, tensor in network.state_dict().items()}
        match = match_names(own, {name: torch.empty(shape_at(width, name)) for name in ENCODER | DECODER})
    assert len(match.fitting) == 167 and not (match.missing or match.mismatched or match.ignored)


@pytest.mark.parametrize("outputs", [21, 14])
def test_an_omni_file_fills_a_decoder_and_only_a_head_of_other_classes_stays(outputs, tmp_path):
    state, network = tensors(list(ENCODER | DECODER), 12), monai_network(outputs)
    report = load_official_weights(network, saved(tmp_path, state, "omni.pt"))
    other = [] if outputs == 21 else ["out.conv.conv.weight", "out.conv.conv.bias"]
    assert [one.name for one in report.mismatched] == other
    assert len(report.loaded) == 167 - len(other) and not report.missing and not report.ignored
    assert_holds(network, {name: tensor for name, tensor in state.items() if name not in other})
    if other:
        assert "(14,)" in str(report) and "(21,)" in str(report)


def test_an_omni_file_leaves_its_decoder_when_an_encoder_is_loaded(tmp_path):
    encoder = SwinEncoder(12)
    report = load_official_weights(encoder, saved(tmp_path, tensors(list(ENCODER | DECODER), 12), "omni.pt"))
    assert len(report.loaded) == 145 and set(report.ignored) == set(DECODER)


@pytest.mark.parametrize("parallel", ["", "module."])
def test_a_training_checkpoint_of_2025_gives_its_backbone(parallel, tmp_path):
    state = tensors(list(ENCODER), 12)
    names = {f"backbone.{name}": tensor for name, tensor in state.items()}
    names |= {f"{side}.{name}": torch.ones(1) for side in ("student", "teacher") for name in PROJECTOR}
    assert len(names) == 157
    content = {"global_step": 7, "state_dict": {parallel + name: tensor for name, tensor in names.items()}}
    encoder = SwinEncoder(12)
    report = load_official_weights(encoder, saved(tmp_path, content, "model_step7.pt"))
    assert len(report.loaded) == 145 and len(report.ignored) == 12
    assert_holds(encoder, state)


@pytest.mark.parametrize("parallel", ["", "module."])
def test_a_training_checkpoint_of_2024_gives_its_student_and_not_its_teacher(parallel, tmp_path):
    state = tensors(list(ENCODER), 12)
    heads = [f"proj_head.{name}" for name in PROJECTOR]
    # The teacher comes first, so that a loader that strips its prefix as well would take its tensors.
    names = {f"teacher.{name}": torch.zeros_like(tensor) for name, tensor in state.items()}
    names |= {f"student.{name}": tensor for name, tensor in state.items()}
    names |= {f"{side}.{name}": torch.ones(1) for side in ("student", "teacher") for name in heads}
    assert len(names) == 302
    content = {"global_step": 7, "state_dict": {parallel + name: tensor for name, tensor in names.items()}}
    encoder = SwinEncoder(12)
    report = load_official_weights(encoder, saved(tmp_path, content, "model_current_epoch.pt"))
    assert len(report.loaded) == 145 and len(report.ignored) == 145 + 12
    assert_holds(encoder, state)


def test_an_nnunet_file_with_its_duplicates_fills_plain_conv(tmp_path):
    source, target = PlainConvEncoder(channels=(4, 8)), PlainConvEncoder(channels=(4, 8))
    # nnU-Net names each layer twice, and holds its encoder a second time inside its decoder.
    own = dict(source.state_dict())
    twice = {
        name.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1."): tensor
        for name, tensor in own.items()
    }
    encoder = {f"encoder.{name}": tensor for name, tensor in (own | twice).items()}
    decoder = {f"decoder.{name}": torch.zeros_like(tensor) for name, tensor in encoder.items()}
    decoder |= {"decoder.seg_layers.0.weight": torch.zeros(2, 4, 1, 1, 1), "decoder.seg_layers.0.bias": torch.zeros(2)}
    report = load_official_weights(target, saved(tmp_path, {"network_weights": decoder | encoder}, "VoComni_nnunet.pt"))
    assert len(report.loaded) == len(own) and not report.missing and report.merging is None
    assert "no published digest" in str(report)
    assert_holds(target, own)
