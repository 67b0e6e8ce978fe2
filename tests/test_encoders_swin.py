"""The Swin encoder: equal to MONAI's and to the released one, whatever its own shortcuts."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from voco_lite.config import EncoderConfig
from voco_lite.downstream.unet import SwinUNETR
from voco_lite.encoders import build_encoder
from voco_lite.encoders.attention import window_attention
from voco_lite.encoders.residual import ResidualBlock
from voco_lite.encoders.rows import linear, mlp
from voco_lite.encoders.swin import FEATURE_SIZES, SwinEncoder
from voco_lite.encoders.swin_transformer import PatchMerging
from voco_lite.encoders.windows import fit_window, relative_position_index, stage_moves, window_plan
from voco_lite.official_weights import set_merging

GOLDEN = Path(__file__).parent / "golden"
CPU = torch.device("cpu")
GRIDS = [(8, 8, 8), (16, 4, 8), (2, 10, 7), (14, 6, 3)]


def monai_encoder(feature_size: int = 12, in_channels: int = 1, **options: Any) -> nn.Module:
    nets = importlib.import_module("monai.networks.nets")
    return nets.SwinUNETR(in_channels, 2, feature_size=feature_size, use_v2=True, **options)  # type: ignore[no-any-return]


def encoder_part(network: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in network.state_dict().items() if not k.startswith(("decoder", "out"))}


def monai_maps(network: nn.Module, crops: Tensor) -> list[Tensor]:
    """The five maps as the released `Swin` class computes them from MONAI's modules."""
    hidden = network.swinViT(crops, True)  # type: ignore[operator]
    inputs = {"encoder1": crops, "encoder2": hidden[0], "encoder3": hidden[1], "encoder4": hidden[2]}
    return [getattr(network, name)(x) for name, x in (*inputs.items(), ("encoder10", hidden[4]))]


def fill(module: nn.Module) -> None:
    """Deterministic weights with biases that matter, by the rule of the golden set."""
    state = module.state_dict()
    for index, name in enumerate(sorted(state)):
        value = state[name]
        if not value.is_floating_point():
            continue
        base = torch.sin(0.7 * (index + 1) + 0.013 * torch.arange(value.numel(), dtype=torch.float64)).view(value.shape)
        if value.dim() == 1:
            filled = 1 + 0.1 * base if name.endswith("weight") else 0.1 * base
        else:
            filled = base / np.sqrt(np.prod(value.shape[1:]))
        value.copy_(filled)


def small_encoder(**options: Any) -> SwinEncoder:
    torch.manual_seed(0)
    return SwinEncoder(12, **options)


def weighted(maps: list[Tensor], weights: list[Tensor]) -> Tensor:
    return torch.stack([(x * w).mean() for x, w in zip(maps, weights, strict=True)]).sum()


@pytest.fixture(scope="module", params=["current", "legacy"])
def pair(request: pytest.FixtureRequest) -> SimpleNamespace:
    """Maps and gradients of MONAI's encoder and ours, one 64^3 crop, equal weights and patch merging."""
    torch.manual_seed(0)
    theirs, ours = monai_encoder(), small_encoder(merging=request.param)
    set_merging(theirs, request.param)
    for name, parameter in theirs.named_parameters():
        if name.endswith(("bias", "bias_table")):
            nn.init.normal_(parameter, std=0.5)
    ours.load_state_dict(encoder_part(theirs))
    crop = torch.rand(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    result = SimpleNamespace(ours=ours, theirs=theirs, crop=crop)
    result.our_crop, result.their_crop = crop.clone().requires_grad_(), crop.clone().requires_grad_()
    result.our_maps, result.their_maps = ours(result.our_crop).maps, monai_maps(theirs, result.their_crop)
    result.weights = [torch.randn(x.shape, generator=generator) for x in result.their_maps]
    for maps in (result.our_maps, result.their_maps):
        weighted(maps, result.weights).backward()
    return result


def test_maps_equal_those_of_monai(pair):
    for ours, theirs in zip(pair.our_maps, pair.their_maps, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_gradients_equal_those_of_monai(pair):
    expected = {name: parameter.grad for name, parameter in pair.theirs.named_parameters()}
    gradients = {name: parameter.grad for name, parameter in pair.ours.named_parameters()}
    assert gradients and gradients.keys() <= expected.keys()
    torch.testing.assert_close(pair.our_crop.grad, pair.their_crop.grad, atol=1e-4, rtol=0)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-4, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
        # Gradients of a mean are small: 1e-4 alone would let much through.
        error, scale = (gradient - expected[name]).abs().max(), expected[name].abs().max()
        assert error <= 1e-3 * scale + 1e-7, f"{name}: {error:.2e} of {scale:.2e}"


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 64, 64), (64, 96, 64)])
def test_maps_and_gradients_equal_those_of_monai_in_float64(size):
    theirs, ours = monai_encoder().double(), small_encoder().double()
    fill(theirs)
    ours.load_state_dict(encoder_part(theirs))
    crop = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0)).double()
    maps, expected = ours(crop).maps, monai_maps(theirs, crop)
    for a, b in zip(maps, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
        weight = torch.randn(a.shape, generator=torch.Generator().manual_seed(2)).double()
        (a * weight).mean().backward(retain_graph=True)
        (b * weight).mean().backward(retain_graph=True)
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-6, rtol=1e-6, msg=name)


@pytest.mark.parametrize("case", ["backbone_00", "backbone_02"])
def test_embedding_equals_the_released_one(case):
    golden = np.load(GOLDEN / "backbone.npz", allow_pickle=False)
    merging = {"monai15": "current", "monai13": "legacy"}[str(golden[f"{case}/in/mode"])]
    encoder = small_encoder(merging=merging).eval()
    fill(encoder)
    crop = np.random.RandomState(int(golden[f"{case}/in/seed"])).uniform(size=(1, 1, 64, 64, 64)).astype(np.float32)
    with torch.no_grad():
        pooled = encoder(torch.from_numpy(crop)).pooled
        hidden = encoder.swinViT(torch.from_numpy(crop))
    np.testing.assert_allclose(pooled.numpy(), golden[f"{case}/out/embedding"], atol=1e-4)
    levels = np.array([x.abs().mean().item() for x in hidden])
    np.testing.assert_allclose(levels, golden[f"{case}/out/hidden_absmean"], atol=1e-4)


@pytest.mark.parametrize("case", ["backbone_00", "backbone_02"])
def test_a_decoder_on_our_maps_gives_the_released_omni_logits(case):
    golden = np.load(GOLDEN / "backbone.npz", allow_pickle=False)
    merging = {"monai15": "current", "monai13": "legacy"}[str(golden[f"{case}/in/mode"])]
    network = importlib.import_module("monai.networks.nets").SwinUNETR(1, 3, feature_size=12, use_v2=True).eval()
    fill(network)
    network.double()
    encoder = small_encoder(merging=merging).eval()
    encoder.load_state_dict(encoder_part(network))
    encoder.double()
    crop = np.random.RandomState(int(golden[f"{case}/in/seed"])).uniform(size=(1, 1, 64, 64, 64)).astype(np.float32)
    crop = torch.from_numpy(crop).double()
    with torch.no_grad():
        output, hidden = encoder(crop), encoder.swinViT(crop)
        enc0, enc1, enc2, enc3, bottom = output.maps
        x = network.decoder4(network.decoder5(bottom, hidden[3]), enc3)
        x = network.decoder1(network.decoder2(network.decoder3(x, enc2), enc1), enc0)
        logits = network.out(x)
    np.testing.assert_allclose(output.pooled.numpy(), golden[f"{case}/out/omni_embedding"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        logits[..., ::16, ::16, ::16].numpy(), golden[f"{case}/out/omni_logits_sub"], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        logits.mean((2, 3, 4)).numpy(), golden[f"{case}/out/omni_logits_mean"], rtol=1e-4, atol=1e-4
    )


def test_state_dict_has_exactly_the_names_and_shapes_of_the_released_file():
    expected = json.loads((GOLDEN / "ckpt_keys_B.json").read_text())["backbone_keys"]
    with torch.device("meta"):
        own = SwinEncoder(48).state_dict()
    assert {k: list(v.shape) for k, v in own.items()} == {k: list(shape) for k, shape in dict(expected).items()}


def test_state_dict_loads_into_monai_and_back():
    ours, theirs = small_encoder(), monai_encoder()
    report = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert report.unexpected_keys == [] and all(k.startswith(("decoder", "out")) for k in report.missing_keys)
    returned = small_encoder()
    returned.load_state_dict(encoder_part(theirs))
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in returned.state_dict().items())


def test_bias_table_index_equals_that_of_monai():
    swin = importlib.import_module("monai.networks.nets.swin_unetr")
    expected = swin.WindowAttention(3, 3, (7, 5, 3)).relative_position_index
    assert torch.equal(relative_position_index((7, 5, 3)), expected)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("grid", [(32, 32, 32), *GRIDS])
def test_windows_hold_every_voxel_once(grid, shifted):
    order = window_plan(grid, (7, 7, 7), shifted, CPU).order
    assert torch.equal(order.sort().values, torch.arange(grid[0] * grid[1] * grid[2]))


def test_windows_of_a_32_grid_hold_fewer_pairs_than_masked_ones():
    plan = window_plan((32, 32, 32), (7, 7, 7), True, CPU)
    pairs = sum(group.windows * group.pairs.numel() for group in plan.groups)
    assert pairs == (4 * 7**2 + 1 + 3**2) ** 3 < 125 * 343**2


@pytest.mark.parametrize("grid", GRIDS)
def test_moves_of_a_stage_undo_each_other(grid):
    rows = torch.arange(2 * grid[0] * grid[1] * grid[2])
    for move in stage_moves(tuple(2 * (n // 2) or 2 for n in grid), (7, 7, 7), 2, CPU):
        count = move.source.numel()
        assert torch.equal(rows[:count][move.source][move.target], rows[:count])


def monai_attention(attention: nn.Module, volume: Tensor, shifted: bool) -> Tensor:
    """MONAI's padding, rolling, masking and attention around given parameters."""
    swin = importlib.import_module("monai.networks.nets.swin_unetr")
    _, *sizes, _ = volume.shape
    grid = (sizes[0], sizes[1], sizes[2])
    window, shift = fit_window(grid, (7, 7, 7), shifted)
    block = swin.SwinTransformerBlock(volume.shape[-1], 3, (7, 7, 7), (3, 3, 3) if shifted else (0, 0, 0))
    block.norm1, block.attn = nn.Identity(), attention
    padded = [-(-size // w) * w for size, w in zip(grid, window, strict=True)]
    mask = swin.compute_mask(padded, window, shift, CPU)
    return block.forward_part1(volume, mask)  # type: ignore[no-any-return]


@pytest.mark.parametrize("written_out", [True, False])
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_attention_equals_padding_rolling_and_masking(grid, shifted, written_out):
    swin = importlib.import_module("monai.networks.nets.swin_unetr")
    torch.manual_seed(0)
    attention = swin.WindowAttention(12, 3, (7, 7, 7), qkv_bias=True).double()
    nn.init.normal_(attention.qkv.bias)
    nn.init.normal_(attention.relative_position_bias_table)
    volume = torch.randn(2, *grid, 12, dtype=torch.float64)
    expected = monai_attention(attention, volume, shifted)

    plan = window_plan(grid, (7, 7, 7), shifted, CPU)
    sizes = [group.windows * group.voxels for group in plan.groups]
    first = torch.arange(2)[:, None] * plan.order.numel()
    order = torch.cat([(first + part).flatten() for part in plan.order.split(sizes)])
    qkv = attention.qkv(volume.reshape(-1, 12)[order])
    mixed = window_attention(qkv, attention.relative_position_bias_table, attention.qkv.bias, plan, written_out)
    result = attention.proj(mixed)[order.argsort()].view(volume.shape)
    torch.testing.assert_close(result, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("grid", [(8, 2, 2), (9, 3, 2)])
def test_written_out_gradients_equal_those_of_fused_attention(grid):
    torch.manual_seed(0)
    plan = window_plan(grid, (7, 7, 7), True, CPU)
    inputs = [
        torch.randn(plan.order.numel(), 18, dtype=torch.float64, requires_grad=True),
        torch.randn(13**3, 3, dtype=torch.float64, requires_grad=True),
        torch.randn(18, dtype=torch.float64, requires_grad=True),
    ]
    weight = torch.randn(plan.order.numel(), 6, dtype=torch.float64)
    written, fused = (
        torch.autograd.grad((window_attention(*inputs, plan, way) * weight).sum(), inputs) for way in (True, False)
    )
    for a, b in zip(written, fused, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


@pytest.mark.parametrize("entries", [1, 1 << 30])
def test_attention_does_not_depend_on_the_windows_taken_at_once(entries, monkeypatch):
    torch.manual_seed(0)
    plan = window_plan((9, 3, 8), (7, 7, 7), True, CPU)
    rows = 3 * plan.order.numel()
    qkv, table, padding = (
        torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((rows, 18), (13**3, 3), (18,))
    )

    def values() -> list[Tensor]:
        result = window_attention(qkv, table, padding, plan, True)
        return [result, *torch.autograd.grad(result.square().sum(), (qkv, table, padding))]

    expected = values()
    monkeypatch.setattr("voco_lite.encoders.attention.SCORES_IN_CACHE", entries)
    for a, b in zip(values(), expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


def test_attention_under_autocast_stays_near_full_precision():
    torch.manual_seed(0)
    plan = window_plan((8, 8, 2), (7, 7, 7), True, CPU)
    table, padding = torch.randn(13**3, 3), torch.randn(18)
    qkv = torch.randn(plan.order.numel(), 18).bfloat16()
    expected = window_attention(qkv.double(), table.double(), padding.bfloat16().double(), plan, True)
    with torch.autocast("cpu", torch.bfloat16):
        result = window_attention(qkv, table, padding, plan, True)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.double(), expected, atol=2e-2, rtol=1e-2)


def test_large_scores_do_not_overflow():
    plan = window_plan((4, 2, 2), (7, 7, 7), False, CPU)
    qkv = (100 * torch.randn(16, 9)).requires_grad_()
    result = window_attention(qkv, torch.zeros(13**3, 1), torch.zeros(9), plan, True)
    (gradient,) = torch.autograd.grad(result.sum(), qkv)
    assert torch.isfinite(result).all() and torch.isfinite(gradient).all()


def both_ways(
    monkeypatch: pytest.MonkeyPatch, compute: Callable[[], Tensor], inputs: list[Tensor]
) -> list[list[Tensor]]:
    """Result and gradients, written out a few rows at a time, and by PyTorch's layers."""
    results = []
    monkeypatch.setattr("voco_lite.encoders.rows.HIDDEN_IN_CACHE", 1)
    monkeypatch.setattr("voco_lite.encoders.residual.VALUES_IN_CACHE", 50)
    for written in (True, False):
        if not written:
            for module in ("rows", "residual"):
                monkeypatch.setattr(f"voco_lite.encoders.{module}.written_out", lambda tensor: False)
        result = compute()
        weight = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view(result.shape)
        results.append([result, *torch.autograd.grad((result * weight).sum(), inputs)])
    return results


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-3)])
def test_mlp_in_the_cache_equals_the_layers(dtype, tolerance, monkeypatch):
    torch.manual_seed(0)
    norm, first, second = nn.LayerNorm(6), nn.Linear(6, 24), nn.Linear(24, 6)
    layers = nn.ModuleList([norm, first, second]).to(dtype)
    rows = torch.randn(2500, 6, dtype=dtype, requires_grad=True)
    ways = both_ways(monkeypatch, lambda: mlp(rows, norm, first, second), [rows, *layers.parameters()])
    for a, b in zip(*ways, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("bias", [True, False])
def test_linear_rows_equal_the_layer(bias, monkeypatch):
    torch.manual_seed(0)
    layer, rows = nn.Linear(6, 10, bias=bias), torch.randn(1500, 6, requires_grad=True)
    ways = both_ways(monkeypatch, lambda: linear(rows, layer.weight, layer.bias), [rows, *layer.parameters()])
    for a, b in zip(*ways, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-4)


def test_gradients_that_are_one_number_expanded_reach_the_weights():
    torch.manual_seed(0)
    plan = window_plan((9, 9, 16), (7, 7, 7), True, CPU)
    rows = torch.randn(plan.order.numel(), 18)
    weight = torch.randn(6, 18, requires_grad=True)
    linear(rows, weight).sum().backward()
    torch.testing.assert_close(weight.grad, rows.sum(0).expand(6, 18), atol=1e-2, rtol=1e-4)
    qkv, table, padding = rows.requires_grad_(), torch.randn(13**3, 3), torch.randn(18)
    ways = [torch.autograd.grad(window_attention(qkv, table, padding, plan, w).sum(), qkv)[0] for w in (True, False)]
    torch.testing.assert_close(*ways, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 4), (4, 4), (3, 6)])
def test_residual_block_in_the_cache_equals_the_layers(inputs, outputs, monkeypatch):
    torch.manual_seed(0)
    block = ResidualBlock(inputs, outputs).double()
    volume = torch.randn(2, inputs, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    ways = both_ways(monkeypatch, lambda: block(volume), [volume, *block.parameters()])
    for a, b in zip(*ways, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


def test_residual_block_keeps_its_input():
    volume = torch.randn(1, 4, 4, 4, 4).contiguous(memory_format=torch.channels_last_3d)
    before = volume.clone()
    ResidualBlock(4, 4)(volume)
    assert torch.equal(volume, before)


def test_patch_merging_orders_are_those_of_monai_1_5_and_1_3():
    volume = torch.randn(1, 2, 2, 2, 4)
    corners = {(i, j, k): volume[0, i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)}
    today = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)]
    before = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1)]
    given = torch.stack([corners[c] for c in today])[None]
    for merging, order in (("current", today), ("legacy", before)):
        module = PatchMerging(4, merging)
        expected = module.reduction(module.norm(torch.cat([corners[c] for c in order])))
        torch.testing.assert_close(module(given)[0], expected)


def test_activation_checkpointing_changes_no_gradient(pair):
    saving = small_encoder(activation_checkpointing=True, merging=pair.ours.merging)
    saving.load_state_dict(pair.ours.state_dict())
    weighted(saving(pair.crop).maps, pair.weights).backward()
    expected = dict(pair.ours.named_parameters())
    for name, parameter in saving.named_parameters():
        scale = float(expected[name].grad.abs().max())
        torch.testing.assert_close(parameter.grad, expected[name].grad, atol=1e-4 * scale + 1e-7, rtol=0, msg=name)


@pytest.mark.slow
def test_crops_checkpointed_apart_give_what_they_give_together(monkeypatch):
    encoder, crops = small_encoder(), torch.rand(3, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = encoder(crops).pooled
    monkeypatch.setattr("voco_lite.encoders.swin.CROPS_AT_ONCE", 2)
    encoder.activation_checkpointing = True
    torch.testing.assert_close(encoder(crops).pooled, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "width"), [("swin-tiny", 288), ("swin-b", 1152), ("swin-l", 2304), ("swin-h", 4608)])
def test_every_size_computes_shapes_on_the_meta_device(name, width):
    with torch.device("meta"):
        encoder = build_encoder(EncoderConfig(name))
        result = encoder(torch.empty(2, 1, 64, 64, 64))
    assert result.pooled.shape == (2, width) and encoder.feature_dim == width
    for scale, channels, stride in zip(result.maps, encoder.channels, encoder.strides, strict=True):
        assert scale.shape == (2, channels, 64 // stride, 64 // stride, 64 // stride)


def test_parameter_counts_are_the_published_ones():
    with torch.device("meta"):
        counts = {
            name: sum(p.numel() for p in SwinEncoder(size).parameters()) / 1e6 for name, size in FEATURE_SIZES.items()
        }
    assert counts["swin-b"] == pytest.approx(53.16, abs=0.01)
    assert counts["swin-l"] == pytest.approx(212.00, abs=0.01)
    assert counts["swin-h"] == pytest.approx(847.28, abs=0.01)


@pytest.mark.parametrize("size", [(64, 64, 80), (16, 64, 64), (0, 64, 64), (32, 32, 32)])
def test_a_size_without_a_coarsest_map_of_several_voxels_is_refused(size):
    with pytest.raises(ValueError, match="multiples of 32, at least one of them 64 or more"):
        small_encoder()(torch.zeros(1, 1, *size))


def test_one_voxel_is_what_the_normalisation_of_monai_refuses_too():
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        monai_encoder().train()(torch.zeros(1, 1, 32, 32, 32))


@pytest.mark.parametrize("size", [(64, 32, 32), pytest.param((64, 64, 32), marks=pytest.mark.slow)])
def test_flat_patches_train_as_in_monai(size):
    theirs = monai_encoder().train()
    ours = SwinUNETR(small_encoder(), 2).train()
    state = theirs.state_dict()
    ours.load_state_dict({name: state[name.removeprefix("encoder.")] for name in ours.state_dict()})
    crop = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0))
    results = [network(crop) for network in (ours, theirs)]
    torch.testing.assert_close(results[0], results[1], atol=1e-4, rtol=0)
    for result in results:
        result.square().mean().backward()
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        gradient = expected[name.removeprefix("encoder.")]
        error, scale = (parameter.grad - gradient).abs().max(), gradient.abs().max()
        assert error <= 5e-3 * scale + 1e-7, f"{name}: {error:.2e} of {scale:.2e}"


def test_a_feature_size_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="multiple of 12, got 20"):
        SwinEncoder(20)


def test_setting_the_merging_changes_every_stage():
    encoder = small_encoder()
    encoder.merging = "legacy"
    assert [stage.downsample.merging for stage in encoder.swinViT.stages()] == ["legacy"] * 4


def test_compilation_on_a_cpu_is_refused_before_a_step():
    with pytest.raises(ValueError, match="Leave compile out"):
        SwinEncoder(12).compile()
