"""The model lives where it is put: on the `meta` device nothing is created elsewhere, and no number is asked for."""

from typing import get_args

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from voco_lite.config import ObjectiveName, PretrainConfig
from voco_lite.crops import CropGrid
from voco_lite.dataset import VoCoBatch
from voco_lite.encoders import ENCODERS
from voco_lite.model import VoCo

OBJECTIVES = [(name, mode) for name in ("tpami25", "cvpr24", "cvpr24-head") for mode in ("default", "official")]
BUILT_IN = [name for name, build in ENCODERS.items() if build.__module__.startswith("voco_lite.")]


class Elsewhere(Exception):
    """A tensor was created on another device."""


class OnlyOn(TorchDispatchMode):
    """Raises at the first operation that makes a tensor on another device."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != self.device:
                raise Elsewhere(f"{function} made a tensor on {tensor.device}")
        return made


def config_of(**changes) -> PretrainConfig:
    return PretrainConfig.preset("ci", projector_dim=16, cells=(2, 1, 1), random_crops=1, **changes)


def meta_batch(config: PretrainConfig) -> VoCoBatch:
    """Two volumes of crops that hold nothing."""
    grid, n = CropGrid.from_config(config.crops), config.crops.random_crops
    random, bases = (torch.empty(2, count, 1, *grid.network_size, device="meta") for count in (n, grid.bases))
    labels = torch.empty(2, n, grid.bases, dtype=torch.float64, device="meta")
    return VoCoBatch(random, bases, labels, ["", ""])


def step_on_meta(config: PretrainConfig) -> VoCo:
    """A step, watched after a forward pass: that makes index tables of windows on the CPU once, and keeps them."""
    with torch.device("meta"):
        model = VoCo(config).train()
    batch = meta_batch(config)
    model(batch)
    with OnlyOn("meta"):
        losses = model(batch)
        losses.total.backward()
    return model


@pytest.mark.parametrize(("name", "mode"), OBJECTIVES)
def test_losses_of_every_objective_stay_on_the_device(name, mode):
    step_on_meta(config_of(objective__name=name, mode=mode))


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_encoder_stays_on_the_device(name):
    size = (64,) * 3 if name.startswith("swin") else (32,) * 3
    model = step_on_meta(config_of(encoder__name=name, crop_size=size))
    assert all(p.grad is not None and p.grad.is_meta for p in model.encoder.parameters() if p.requires_grad)


@pytest.mark.parametrize(("merging", "checkpointing"), [("current", False), ("legacy", False), ("current", True)])
def test_the_variants_of_the_swin_encoder_stay_on_the_device(merging, checkpointing):
    changes = {"merging": merging, "activation_checkpointing": checkpointing}
    step_on_meta(config_of(encoder__name="swin-tiny", crop_size=(64, 64, 64), **changes))


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["tpami25-L", "tpami25-H"])
def test_a_published_step_of_the_large_encoders_stays_on_the_device(preset):
    # B is small enough to train for real: test_published_step.py.
    model = step_on_meta(PretrainConfig.preset(preset))
    assert all(p.grad is not None and p.grad.is_meta for p in model.encoder.parameters() if p.requires_grad)


@pytest.mark.parametrize("norm", ["batch", "group", "instance"])
def test_every_normalisation_stays_on_the_device(norm):
    step_on_meta(config_of(norm=norm, crop_size=(32, 32, 32)))


def test_projecting_stays_on_the_device():
    config = config_of()
    with torch.device("meta"):
        model = VoCo(config).eval()
    with OnlyOn("meta"):
        assert model.project(meta_batch(config).base_crops.flatten(0, 1)).is_meta


def test_losses_in_double_precision_stay_on_the_device():
    config = config_of()
    with torch.device("meta"):
        model = VoCo(config).double()
    batch = meta_batch(config)
    doubled = VoCoBatch(batch.random_crops.double(), batch.base_crops.double(), batch.position_labels, batch.sources)
    with OnlyOn("meta"):
        assert model(doubled).total.dtype == torch.float64


# The watch itself


def watched(model: VoCo, monkeypatch: pytest.MonkeyPatch, disturb) -> None:
    config = model.config
    embed = model.embed
    monkeypatch.setattr(model, "embed", lambda *args: disturb(embed(*args)))
    with OnlyOn("meta"):
        model(meta_batch(config))


@pytest.fixture
def model() -> VoCo:
    with torch.device("meta"):
        return VoCo(config_of())


def test_a_tensor_made_on_the_cpu_is_noticed(model, monkeypatch):
    def disturb(embedded):
        torch.zeros(1)
        return embedded

    with pytest.raises(Elsewhere, match="on cpu"):
        watched(model, monkeypatch, disturb)


@pytest.mark.parametrize("ask", [lambda x: x.sum().item(), lambda x: bool((x > 0).any()), lambda x: x.tolist()])
def test_a_number_that_the_host_asks_for_is_noticed(model, monkeypatch, ask):
    def disturb(embedded):
        ask(embedded[0].random)
        return embedded

    with pytest.raises((RuntimeError, NotImplementedError)):
        watched(model, monkeypatch, disturb)


def test_every_objective_is_watched():
    assert {name for name, _ in OBJECTIVES} == set(get_args(ObjectiveName))
