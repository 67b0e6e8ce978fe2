"""The dense probe, against scikit-learn's ridge regression, torch's interpolation, and subjects that can be told apart."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from tiny_run import tiny_config, train
from voco_lite import Volume
from voco_lite.config import EncoderConfig
from voco_lite.downstream.dense_probe import (
    DenseProbe,
    DenseProbeConfig,
    RidgeSums,
    draw_without_replacement,
    features_at,
    fit_dense_probe,
)
from voco_lite.encoders import ConvEncoder, build_encoder

BOX = DenseProbeConfig(("box",), window=(16, 16, 16), voxels=2000)


def subject(seed, organ="box"):
    """A bright box in noise, labelled."""
    make = torch.Generator().manual_seed(seed)
    labels = torch.zeros(16, 16, 16, dtype=torch.uint8)
    low = [int(n) for n in torch.randint(1, 5, (3,), generator=make)]
    labels[low[0] : low[0] + 9, low[1] : low[1] + 9, low[2] : low[2] + 9] = 1
    data = labels[None].float() + 0.1 * torch.randn(1, 16, 16, 16, generator=make)
    affine = torch.eye(4, dtype=torch.float64)
    return Volume(data, affine, f"box {seed}", "prepared", labels=labels, label_names={1: organ})


def rows(n=300, features=6, seed=0):
    """Features of unlike means and scales, and three classes that depend on them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features)) * 10.0 ** np.arange(-2, features - 2) + np.arange(features)
    scores = np.c_[x[:, 0] * 100, x[:, 1] * 10, rng.normal(size=n)]
    return x, np.eye(3)[scores.argmax(1)]


@pytest.mark.parametrize("penalty", [1e-4, 1e-2, 1.0])
def test_the_sums_give_scikit_learns_ridge_on_features_of_variance_one(penalty):
    x, y = rows()
    sums = RidgeSums(6, 3)
    for part in range(0, 300, 70):
        sums.add(torch.tensor(x[part : part + 70]), torch.tensor(y[part : part + 70]))
    weights, intercept = sums.solve(penalty)
    scaled = StandardScaler().fit_transform(x)
    expected = Ridge(alpha=penalty * len(x)).fit(scaled, y).predict(scaled)
    np.testing.assert_allclose(x @ weights.numpy() + intercept.numpy(), expected, atol=1e-8)


def test_a_feature_that_never_varies_changes_nothing():
    x, y = (torch.tensor(values) for values in rows())
    found = []
    for features in (x, torch.cat([x, torch.full((300, 1), 3.7), torch.zeros(300, 1)], dim=1)):
        sums = RidgeSums(features.shape[1], 3)
        sums.add(features, y)
        weights, intercept = sums.solve(0.01)
        found.append((weights[:6], intercept, weights[6:]))
    torch.testing.assert_close(found[1][:2], found[0][:2])
    assert found[1][2].abs().max() < 1e-12


def test_features_at_voxels_are_those_of_the_enlarged_maps():
    make = torch.Generator().manual_seed(0)
    size = (8, 12, 16)
    maps = [torch.randn(1, 3, 4, 6, 8, generator=make), torch.randn(1, 2, 1, 3, 2, generator=make)]
    enlarged = torch.cat([F.interpolate(one, size, mode="trilinear") for one in maps], dim=1)[0]
    voxels = torch.cartesian_prod(*(torch.arange(n) for n in size))
    expected = enlarged[:, voxels[:, 0], voxels[:, 1], voxels[:, 2]].T
    torch.testing.assert_close(features_at(maps, voxels, size), expected, atol=1e-5, rtol=1e-5)


def test_the_network_computes_the_regression():
    encoder = build_encoder(EncoderConfig(), seed=0).eval()
    probe = fit_dense_probe(encoder, [subject(0)], BOX)
    image = subject(1).data[None]
    with torch.no_grad():
        voxels = torch.cartesian_prod(*(torch.arange(16),) * 3)
        features = features_at(encoder(image).maps, voxels, (16, 16, 16))
        weights = torch.cat([head.weight.flatten(1) for head in probe.heads], dim=1)
        expected = (features @ weights.T + sum(head.bias for head in probe.heads)).T.reshape(1, 2, 16, 16, 16)
        torch.testing.assert_close(probe(image), expected, atol=1e-3, rtol=1e-3)


def test_every_voxel_can_be_drawn_and_then_the_fit_is_the_whole_regression():
    torch.manual_seed(0)
    encoder = ConvEncoder((8, 16)).eval()
    config = DenseProbeConfig(("box",), (16, 16, 16), voxels=10**6, ridge=0.1)
    probe = fit_dense_probe(encoder, [subject(0)], config)
    with torch.no_grad():
        maps = encoder(subject(0).data[None]).maps
    x = torch.cat([F.interpolate(m, (16, 16, 16), mode="trilinear") for m in maps], dim=1)[0].flatten(1).T.double()
    y = F.one_hot(subject(0).labels.flatten().long(), 2).numpy()
    model = Ridge(alpha=0.1 * len(x)).fit(StandardScaler().fit_transform(x), y)
    with torch.no_grad():
        found = probe(subject(0).data[None])[0].flatten(1).T
    np.testing.assert_allclose(found, model.predict(StandardScaler().fit_transform(x)), atol=2e-3)


def test_rare_classes_are_drawn_alike_where_that_is_asked_for(monkeypatch):
    drawn = []
    monkeypatch.setattr(RidgeSums, "add", lambda self, x, y: drawn.append(y.double().mean(0)) or 1)
    monkeypatch.setattr(RidgeSums, "solve", lambda self, _: (torch.zeros(len(self.x), 2), torch.zeros(2)))
    for rarity in (0.0, 1.0):
        config = DenseProbeConfig(("box",), (16, 16, 16), voxels=400, rarity=rarity)
        fit_dense_probe(build_encoder(EncoderConfig(), seed=0), [subject(0)], config)
    assert float(drawn[0][1]) == pytest.approx(9**3 / 16**3, abs=0.07)
    assert float(drawn[1][1]) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("places", "n"), [(5, 1), (10, 10), (4096, 2000)])
def test_draws_are_those_of_torch(places, n):
    chances = torch.arange(1, places + 1).double()
    one, other = (torch.Generator().manual_seed(0) for _ in range(2))
    expected = torch.multinomial(chances, n, generator=other)
    assert torch.equal(draw_without_replacement(chances, n, one), expected)
    assert torch.equal(one.get_state(), other.get_state())


def test_a_scan_may_have_more_voxels_than_torch_draws_from():
    places = 2**24 + 1
    found = draw_without_replacement(torch.ones(places), 100, torch.Generator().manual_seed(0))
    assert len(found.unique()) == 100 and int(found.max()) < places


def test_a_box_that_can_be_seen_is_found_in_another_subject():
    probe = DenseProbe([subject(0), subject(1)], [subject(2)], BOX)
    assert probe.measure(build_encoder(EncoderConfig(), seed=0))["box 2"] > 0.7


def test_a_volume_larger_than_the_window_is_covered():
    config = DenseProbeConfig(("box",), (8, 8, 8), voxels=2000)
    probe = DenseProbe([subject(0), subject(1)], [subject(2)], config)
    assert probe.measure(ConvEncoder((8, 16)))["box 2"] > 0.5


def test_the_encoder_stays_as_it_is():
    encoder = build_encoder(EncoderConfig(), seed=0).train()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    DenseProbe([subject(0)], [subject(1)], BOX).measure(encoder)
    assert encoder.training and all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_the_caller_s_random_numbers_go_on_undisturbed():
    encoder, before = build_encoder(EncoderConfig(), seed=0), torch.get_rng_state()
    fit_dense_probe(encoder, [subject(0)], BOX)
    assert torch.equal(torch.get_rng_state(), before)


def test_two_measurements_are_the_same():
    encoder = build_encoder(EncoderConfig(), seed=0)
    probe = DenseProbe([subject(0)], [subject(1)], BOX)
    assert probe.measure(encoder) == probe.measure(encoder)


def test_a_pre_training_is_watched_every_so_many_steps_and_not_disturbed():
    probe = DenseProbe([subject(0)], [subject(1)], BOX, every=4)
    config = tiny_config(steps=8, log_every=2)
    _, watched = train(config, callbacks=[probe])
    _, alone = train(config)
    assert list(probe.scores) == [4, 8] and all(set(scores) == {"box 1"} for scores in probe.scores.values())
    assert watched["total"] == alone["total"]


def test_a_record_that_comes_late_is_measured_at_once():
    probe = DenseProbe([subject(0)], [subject(1)], BOX, every=4)
    train(tiny_config(steps=9, log_every=3), callbacks=[probe])
    assert list(probe.scores) == [6, 9]


def test_a_record_before_the_first_step_is_measured_too():
    probe = DenseProbe([subject(0)], [subject(1)], BOX, every=4)
    for step in (0, 2):
        probe({"step": step}, SimpleNamespace(encoder=build_encoder(EncoderConfig(), seed=0)))
    assert list(probe.scores) == [0]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: DenseProbeConfig(voxels=0), "voxels must be at least 1"),
        (lambda: DenseProbeConfig(rarity=2.0), "rarity lie in"),
        (lambda: DenseProbeConfig(ridge=0.0), "ridge be positive"),
        (lambda: DenseProbeConfig(("box", "box")), "different names"),
        (lambda: fit_dense_probe(build_encoder(EncoderConfig(), seed=0), [], BOX), "at least one subject"),
        (lambda: fit_dense_probe(build_encoder(EncoderConfig(), seed=0), [subject(0, "ball")], BOX), "got 'box'"),
    ],
)
def test_wrong_input_is_explained(call, said):
    with pytest.raises(ValueError, match=said):
        call()
