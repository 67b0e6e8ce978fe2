"""The model: projector, teacher, and whole forward passes against the released code's numbers."""

import numpy as np
import pytest
import torch
from torch import nn

import voco_lite.model
from golden_sets import cases, under
from voco_lite.config import PretrainConfig
from voco_lite.dataset import VoCoBatch
from voco_lite.encoders import EncoderOutput, build_encoder, register
from voco_lite.encoders.registry import ENCODERS
from voco_lite.model import Embeddings, Projector, VoCo, draw_keep
from voco_lite.objectives import objective

OBJECTIVES = [(n, m) for n in ("tpami25", "cvpr24", "cvpr24-head") for m in ("default", "official")]


def tensor(array):
    return torch.from_numpy(np.array(array))


def weights(case, prefix):
    return {name: tensor(value) for name, value in under(case, prefix).items()}


class Identity(nn.Module):
    """Stands for the encoder where pooled features are given."""

    def forward(self, features):
        return EncoderOutput([], features)


def model_of(case, name, teacher="in/teacher_before/"):
    """A model in official mode with a case's projector weights and no encoder."""
    config = PretrainConfig.preset("ci", objective__name=name, mode="official", seed=1)
    model = VoCo(config)
    student = weights(case, "in/student/")
    dim, width = student["layer1.0.weight"].shape
    model.encoder = Identity()
    model.projector = Projector(width, dim)
    model.projector.load_state_dict(student)
    model.teacher_projector = Projector(width, dim).requires_grad_(False)
    model.teacher_projector.load_state_dict(weights(case, teacher))
    if model.teacher_encoder is not None:
        model.teacher_encoder = Identity()
    return model


def batch_of(case):
    volumes, random = int(case["in/batch"]), int(case["in/sw"])
    crops = tensor(case["in/img_emb"]).unflatten(0, (volumes, random))
    bases = tensor(case["in/crop_emb"]).unflatten(0, (volumes, -1))
    return VoCoBatch(crops.double(), bases.double(), tensor(case["in/labels"]), ["golden"] * volumes)


def batch(volumes=2, random=2, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    crops, bases = (torch.rand(volumes, n, 1, size, size, size, generator=generator) for n in (random, 9))
    labels = torch.rand(volumes, random, 9, generator=generator).softmax(-1)
    return VoCoBatch(crops, bases, labels, ["made"] * volumes)


def assert_near(found, expected, tolerance):
    torch.testing.assert_close(
        found, tensor(expected).reshape(found.shape), rtol=tolerance, atol=tolerance, check_dtype=False
    )


# The released code's numbers


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", cases("projector"))
def test_projector_equals_the_released_code(case, training):
    # In float64: where a batch hardly varies, its norm turns the rounding of float32 into numbers of its own.
    x = tensor(case["in/x"]).double().requires_grad_()
    given = weights(case, "in/w/")
    projector = Projector(x.shape[1], given["layer1.0.weight"].shape[0]).train(training)
    projector.layer3 = nn.Sequential(nn.Linear(*reversed(given["layer3.0.weight"].shape)))
    projector.load_state_dict(given)
    projector.double()
    y = projector(x)
    assert_near(y.detach(), case["out/y"], 2e-4)
    if float(x.detach().var(0).min()) > 0:
        y.square().sum().backward()
        scale = max(1.0, float(np.abs(case["out/grad_x_of_sumsq"]).max()))
        assert_near(x.grad / scale, case["out/grad_x_of_sumsq"] / scale, 2e-4)


@pytest.mark.parametrize("case", cases("ema"))
def test_ema_equals_the_released_code(case):
    model = VoCo(PretrainConfig.preset("ci", momentum=float(case["in/momentum"])))
    model.projector, model.teacher_projector = (_layers(weights(case, f"in/{who}/")) for who in ("student", "teacher"))
    for _ in range(int(case["in/steps"])):
        model.update_teacher()
    for name, value in model.teacher_projector.state_dict().items():
        assert_near(value, case[f"out/teacher/{name}"], 2e-6)


def _layers(given):
    module = nn.Module()
    for layer in ("layer1", "layer2", "layer3"):
        setattr(module, layer, nn.Sequential(nn.Linear(*reversed(given[f"{layer}.0.weight"].shape))))
    module.load_state_dict(given)
    return module


@pytest.mark.parametrize("case", cases("head_v2"))
def test_a_2025_forward_pass_equals_the_released_code(case, monkeypatch):
    model = model_of(case, "tpami25")
    loose = bool(case["in/dropout"])
    keep = tensor(case["in/keep"]).bool()[:, None] if loose else None
    if not loose:
        model.config = model.config.changed(dropout=0.0)
    monkeypatch.setattr(voco_lite.model, "draw_keep", lambda *_: keep)
    _compare(
        model, case, {"intra": "out/intra", "inter": "out/inter", "regularization": "out/reg"}, 2e-2 if loose else 2e-4
    )


@pytest.mark.parametrize("case", cases("head_v1"))
def test_a_2024_forward_pass_equals_the_released_code(case):
    names = {"positive": "out/pos", "negative": "out/neg", "regularization": "out/reg"}
    _compare(model_of(case, "cvpr24"), case, names, 2e-4)


def _compare(model, case, names, tolerance):
    bases = case["in/crop_emb"]
    tolerance = 2e-2 if len(np.unique(bases, axis=0)) < len(bases) else tolerance
    # In float64, so that a CPU that sums in another order computes the same.
    losses = model.double()(batch_of(case))
    for ours, theirs in names.items():
        assert_near(losses.terms[ours].detach(), case[theirs], tolerance)
    assert_near(losses.total.detach(), case["out/loss"], tolerance)
    for name, value in model.teacher_projector.state_dict().items():
        assert_near(value, case[f"out/teacher_after/{name}"], 2e-6)
    losses.total.backward()
    for name, parameter in model.projector.named_parameters():
        expected = case[f"out/grad_student/{name}"]
        scale = max(1.0, float(np.abs(expected).max()))
        assert_near(parameter.grad / scale, expected / scale, tolerance)


@pytest.mark.parametrize("case", cases("head_old"))
def test_the_paper_time_head_equals_its_released_code(case):
    model = VoCo(PretrainConfig.preset("ci", objective__name="cvpr24-head", mode="official"))
    projected = tensor(case["in/projected"]).requires_grad_()
    crops = int(case["in/sw"])
    embedded = Embeddings(projected[None, :crops], projected[None, crops:])
    total = model.losses(embedded, embedded, tensor(case["in/labels"])[None]).total
    total.backward()
    assert_near(total.detach(), case["out/loss"], 2e-4)
    assert_near(projected.grad, case["out/grad"], 2e-4)


# The teacher


def test_the_default_teacher_starts_as_a_copy_and_the_released_one_does_not():
    for mode, equal in (("default", True), ("official", False)):
        model = VoCo(PretrainConfig.preset("ci", mode=mode))
        pairs = zip(model.projector.parameters(), model.teacher_projector.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) is equal


def test_the_2024_teacher_is_the_whole_network_with_the_students_batch_statistics():
    model = VoCo(PretrainConfig.preset("ci", objective__name="cvpr24")).train()
    model(batch())  # the teacher's own pass over the batch moves its statistics once more
    model.update_teacher()
    for student, teacher in zip(model.encoder.buffers(), model.teacher_encoder.buffers(), strict=True):
        assert torch.equal(student, teacher)
    assert any(name.startswith("teacher_encoder.") for name in model.state_dict())


@pytest.mark.parametrize(("name", "mode"), OBJECTIVES)
def test_no_gradient_reaches_the_teacher(name, mode):
    model = VoCo(PretrainConfig.preset("ci", objective__name=name, mode=mode))
    model(batch()).total.backward()
    teachers = [p for n, p in model.named_parameters() if n.startswith("teacher")]
    assert all(p.grad is None and not p.requires_grad for p in teachers)
    assert all(p.grad is not None for p in model.projector.parameters())


@pytest.mark.parametrize(("name", "mode"), OBJECTIVES)
def test_evaluation_moves_the_teacher_only_where_the_released_code_does(name, mode):
    model = VoCo(PretrainConfig.preset("ci", objective__name=name, mode=mode)).eval()
    for p in model.projector.parameters():
        p.data.add_(0.1)
    before = [p.clone() for n, p in model.named_parameters() if n.startswith("teacher_projector")]
    model(batch())
    after = [p for n, p in model.named_parameters() if n.startswith("teacher_projector")]
    moved = any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert moved is (objective(name, mode).teacher_update == "always")


def test_accumulation_can_leave_the_teacher_alone():
    model = VoCo(PretrainConfig.preset("ci", mode="official"))
    before = [p.clone() for p in model.teacher_projector.parameters()]
    model(batch(), update_teacher=False)
    assert all(torch.equal(a, b) for a, b in zip(before, model.teacher_projector.parameters(), strict=True))


# Dropout, partners, chance


def test_the_released_dropout_drops_whole_crops_and_the_default_single_features():
    crops = draw_keep((1000, 1), 0.2, torch.device("cpu"), torch.Generator().manual_seed(0)).expand(-1, 4)
    assert crops.float().std(1).max() == 0 and abs(crops.float().mean() - 0.8) < 0.05
    for mode, kind in (("official", "crops"), ("default", "elements")):
        model = VoCo(PretrainConfig.preset("ci", mode=mode)).train()
        dropped = model._drop(torch.ones(40, 50), torch.Generator().manual_seed(0)) == 0
        whole = dropped.all(1) | ~dropped.any(1)
        assert bool(whole.all()) is (kind == "crops")


def test_dropout_rests_in_evaluation_except_in_official_mode():
    features = torch.ones(40, 50)
    for mode, rests in (("official", False), ("default", True)):
        model = VoCo(PretrainConfig.preset("ci", mode=mode)).eval()
        assert torch.equal(model._drop(features, torch.Generator().manual_seed(0)), features) is rests


def test_the_same_generator_gives_the_same_loss():
    model = VoCo(PretrainConfig.preset("ci")).train()
    one, two, other = (model(batch(), torch.Generator().manual_seed(s), update_teacher=False).total for s in (0, 0, 1))
    torch.testing.assert_close(one, two)
    assert float((one - other).detach().abs()) > 1e-6


def test_a_lone_volume_is_refused_by_default_and_its_own_partner_in_official_mode():
    with pytest.raises(ValueError, match="at least 2 volumes in a batch, got 1"):
        VoCo(PretrainConfig.preset("ci"))(batch(volumes=1))
    assert torch.isfinite(VoCo(PretrainConfig.preset("ci", mode="official"))(batch(volumes=1)).total)


def test_the_next_volume_is_the_partner():
    model = VoCo(PretrainConfig.preset("ci"))
    a, b, c = torch.eye(3)
    random = torch.stack([a, b, c])[:, None]
    base = torch.stack([c, a, b])[:, None]  # the base crop of the next volume equals the random crop
    found = model._inter(Embeddings(random, base), Embeddings(random, base))
    away = model._inter(Embeddings(random, base), Embeddings(random, base.roll(1, 0)))
    assert float(found) < 1e-4 < float(away)


def test_weights_of_the_terms_make_the_total():
    model = VoCo(PretrainConfig.preset("ci", intra_weight=2.0, inter_weight=0.5, regularization_weight=0.0)).eval()
    losses = model(batch())
    torch.testing.assert_close(losses.total, 2 * losses.terms["intra"] + 0.5 * losses.terms["inter"])


def test_building_a_model_leaves_the_global_generator_alone_and_follows_its_seed():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (VoCo(PretrainConfig.preset("ci", seed=s)) for s in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    flat = [torch.cat([p.flatten() for p in m.parameters()]) for m in (first, again, other)]
    assert torch.equal(flat[0], flat[1]) and not torch.equal(flat[0], flat[2])


# Encoders


@pytest.mark.parametrize("name", ["conv-tiny", "conv-small"])
def test_pooled_features_are_the_averages_of_the_coarsest_map(name):
    encoder = build_encoder(PretrainConfig.preset("ci", encoder__name=name).encoder).eval()
    size = max(encoder.minimum_size, 32)
    output = encoder(torch.rand(2, 1, size, size, size))
    assert tuple(m.shape[1] for m in output.maps) == encoder.channels
    assert tuple(size // m.shape[2] for m in output.maps) == encoder.strides
    torch.testing.assert_close(output.pooled, output.maps[-1].mean((2, 3, 4)))
    assert output.pooled.shape == (2, encoder.feature_dim)


@pytest.mark.parametrize("norm", ["batch", "group", "instance"])
def test_conv_encoders_train_with_every_norm_on_their_smallest_crop(norm):
    encoder = build_encoder(PretrainConfig.preset("ci", norm=norm).encoder)
    encoder(torch.rand(2, 1, *[encoder.minimum_size] * 3)).pooled.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_a_crop_size_that_cannot_be_halved_is_explained():
    encoder = build_encoder(PretrainConfig.preset("ci").encoder)
    with pytest.raises(ValueError, match=r"multiples of 16 and at least 16 voxels, got \(24, 16, 16\)"):
        encoder(torch.rand(2, 1, 24, 16, 16))


def test_an_unknown_encoder_names_the_known_ones():
    with pytest.raises(ValueError, match="conv-small, conv-tiny"):
        build_encoder(PretrainConfig.preset("ci", encoder__name="resnet").encoder)


def test_a_readers_encoder_trains_after_one_line():
    @register("mean")
    def mean(config, in_channels):
        module = Identity()
        module.feature_dim = 1
        module.forward = lambda crops: EncoderOutput([crops], crops.mean((2, 3, 4)))
        return module

    try:
        losses = VoCo(PretrainConfig.preset("ci", encoder__name="mean"))(batch())
        losses.total.backward()
        with pytest.raises(ValueError, match="is taken"):
            register("mean")(build_encoder)
    finally:
        ENCODERS.pop("mean")


@pytest.mark.parametrize("name", ["tpami25", "cvpr24", "cvpr24-head"])
def test_a_forward_pass_runs_on_the_meta_device(name):
    model = VoCo(PretrainConfig.preset("ci", objective__name=name, dropout=0.0)).to("meta")
    assert model(batch().to("meta")).total.device.type == "meta"
