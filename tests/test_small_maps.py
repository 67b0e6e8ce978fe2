"""Convolutions over maps of one or two voxels, where bfloat16 gradients on CPUs went wrong."""

import pytest
import torch
from torch import nn

from voco_lite.config import EncoderConfig
from voco_lite.downstream.unet import UNet
from voco_lite.encoders import build_encoder
from voco_lite.encoders.conv import Convolution


def dirty_memory() -> None:
    """Leave large numbers behind in freed memory, for whoever reads memory that was never written."""
    kept = [torch.full((n,), 1e30) for n in (1_000, 10_000, 100_000, 300_000, 1_000_000) * 5]
    del kept


@pytest.mark.parametrize(("size", "stride"), [((2, 2, 2), 1), ((2, 3, 4), 1), ((1, 1, 1), 2), ((6, 1, 1), 2)])
def test_bfloat16_weight_gradient_of_small_maps_is_that_of_float32(size, stride):
    torch.manual_seed(0)
    convolution, maps = Convolution(32, 32, stride), torch.randn(8, 32, *size)
    expected = convolution(maps)
    toward = torch.randn_like(expected)
    expected.backward(toward)
    wanted, convolution.weight.grad = convolution.weight.grad, None
    dirty_memory()
    with torch.autocast("cpu", torch.bfloat16):
        result = convolution(maps)
    result.backward(toward)
    assert float((convolution.weight.grad - wanted).abs().max() / wanted.abs().max()) < 0.05


@pytest.mark.parametrize("stride", [1, 2])
def test_padding_beforehand_changes_no_value(stride):
    ours, torchs = Convolution(4, 5, stride), nn.Conv3d(4, 5, 3, stride, padding=1, bias=False)
    torchs.load_state_dict(ours.state_dict())
    maps = torch.randn(2, 4, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(maps), torchs(maps))


@pytest.mark.parametrize("name", ["conv-tiny", "plain-conv", "swin-tiny"])
def test_no_encoder_has_a_padded_convolution_of_another_kind(name):
    encoder = build_encoder(EncoderConfig(name))
    padded = [m for m in encoder.modules() if isinstance(m, nn.Conv3d) and any(m.padding)]
    assert padded and all(isinstance(module, Convolution) for module in padded)


def test_a_decoder_over_small_maps_has_no_padded_convolution_of_another_kind_and_learns_in_bfloat16():
    network = UNet(build_encoder(EncoderConfig("conv-tiny")), classes=3)
    padded = [m for m in network.ups.modules() if isinstance(m, nn.Conv3d) and any(m.padding)]
    assert padded and all(isinstance(module, Convolution) for module in padded)
    dirty_memory()
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.rand(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0)))
    logits.float().square().mean().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in network.ups.parameters())
