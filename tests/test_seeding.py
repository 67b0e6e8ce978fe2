"""New weights follow their seed alone, and no generator of the caller's notices, those of GPUs included."""

import pytest
import torch

from voco_lite.config import EncoderConfig, PretrainConfig, VolumeConfig
from voco_lite.downstream.classification import build_classifier
from voco_lite.downstream.flow import build_flow
from voco_lite.downstream.start import Start
from voco_lite.downstream.unet import build_segmenter
from voco_lite.downstream.vision_language import build_alignment
from voco_lite.encoders import build_encoder
from voco_lite.encoders.seeding import seeded
from voco_lite.model import VoCo


def encoder(seed=0):
    return build_encoder(EncoderConfig(), seed=seed)


def test_a_seed_draws_as_torch_s_own_does_and_the_caller_goes_on_undisturbed():
    before = torch.get_rng_state()
    with seeded(7):
        found = torch.rand(5)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        assert torch.equal(found, torch.rand(5))


@pytest.mark.parametrize(
    "build",
    [
        encoder,
        lambda seed: build_segmenter(encoder(), 3, False, seed),
        lambda seed: build_classifier(encoder(), 3, seed),
        lambda seed: build_alignment(encoder(), 8, 4, seed),
        lambda seed: build_flow(Start(encoder(), EncoderConfig(), VolumeConfig()), seed),
        lambda seed: VoCo(PretrainConfig.preset("ci", seed=seed)),
    ],
)
def test_new_weights_leave_the_generators_of_gpus_alone(monkeypatch, build):
    seen = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seen.append)
    build(3)
    assert seen == []
