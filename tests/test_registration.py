"""Registration: the network's start, warping and flow against closed forms, the known warps, scores, and the run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tiny_run import same_weights, trace, weights
from tiny_task import finetune, tiny_finetuning
from voco_lite.config import EncoderConfig, PretrainConfig, VolumeConfig
from voco_lite.downstream import Split, fit
from voco_lite.downstream.affine import best_affine, find_affine, in_voxels, no_displacement, register_affine
from voco_lite.downstream.deformation import folded_share, follow, target_errors_mm
from voco_lite.downstream.flow import FlowNetwork, build_flow, flow, joint_encoder, warp_labels, warp_scans
from voco_lite.downstream.pairs import Pair, in_a_ring, known_matches
from voco_lite.downstream.registrar import examine, load_registrar
from voco_lite.downstream.registration import RegistrationConfig, RegistrationTask
from voco_lite.downstream.start import Start, untrained
from voco_lite.downstream.task import Draws
from voco_lite.encoders import ConvEncoder, build_encoder
from voco_lite.encoders.registry import register
from voco_lite.samples import phantoms
from voco_lite.viewers.sliding import true_place
from voco_lite.volumes import Volume

SHIFT = (2, -1, 3)  # voxels
N = 16


def blob(seed=0, n=N, centre=None, shape=None):
    """A soft ball of label 1 in faint noise."""
    make = torch.Generator().manual_seed(seed)
    size = shape or (n, n, n)
    at = torch.stack(torch.meshgrid(*(torch.arange(m) for m in size), indexing="ij"), -1).float()
    place = centre or (torch.randint(6, 10, (3,), generator=make)).tolist()
    distance = (at - torch.tensor([float(x) for x in place])).norm(dim=-1)
    data = (-(distance**2) / 18).exp() + 0.02 * torch.randn(size, generator=make)
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))
    return Volume(data[None], affine, f"blob {seed}", "prepared", (distance < 4).to(torch.uint8), {1: "ball"})


@register("conv-mini")
def conv_mini(config, in_channels):
    return ConvEncoder((8, 16), config.norm, in_channels)


def start(name="conv-mini"):
    config = EncoderConfig(name)
    return Start(build_encoder(config, 1, 0), config, VolumeConfig())


def task(training=3, validation=2, **changes):
    split = Split([blob(i) for i in range(training)], [blob(100 + i) for i in range(validation)])
    return RegistrationTask(
        start(), split, RegistrationConfig(**({"organs": ("ball",), "window": 5, "affine": False} | changes))
    )


def constant(shift=SHIFT, n=N):
    return torch.tensor(shift, dtype=torch.float32).reshape(3, 1, 1, 1).expand(3, n, n, n).clone()


@pytest.fixture(scope="module")
def bodies():
    return phantoms(3, VolumeConfig(spacing=None, foreground=None, size=(32, 32, 32)), first_seed=50, cache=False)


# The network


def test_two_equal_scans_get_the_features_that_one_of_them_had():
    begun = start()
    joint, single = joint_encoder(begun, seed=1), begun.fresh()
    scan = torch.rand(2, 1, N, N, N, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        both, alone = joint(torch.cat([scan, scan], 1)), single(scan)
    assert alone.pooled.abs().max() > 0.1
    torch.testing.assert_close(both.pooled, alone.pooled, atol=1e-3, rtol=1e-3)
    for ours, theirs in zip(both.maps, alone.maps, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_the_encoder_of_swin_is_joined_too():
    begun = start("swin-tiny")
    joint, single = joint_encoder(begun, seed=1).state_dict(), begun.encoder.state_dict()
    widened = [name for name in single if single[name].shape != joint[name].shape]
    assert "swinViT.patch_embed.proj.weight" in widened and len(widened) >= 2
    for name in single:
        whole = joint[name].sum(1, keepdim=True) if name in widened else joint[name]
        torch.testing.assert_close(whole, single[name])


def test_the_network_can_tell_which_scan_moves():
    joint = joint_encoder(start(), seed=1)
    one, other = (blob(i).data[None] for i in range(2))
    with torch.no_grad():
        forth, back = (joint(torch.cat(pair, 1)).maps[0] for pair in ((one, other), (other, one)))
    assert (forth - back).abs().max() > 0.1 * forth.abs().max()


def test_it_starts_as_the_identity_and_learns_from_there():
    made = task()
    pair = in_a_ring(made.split.training)[0]
    made.network.train()
    field = made.network(pair.moving.data[None], pair.fixed.data[None])
    assert field.shape == (1, 3, N, N, N) and not field.any()
    terms = made.losses({"moving": pair.moving.data[None], "fixed": pair.fixed.data[None]})
    assert terms["diffusion"] == 0
    sum(terms.values()).backward()
    assert made.network.velocity.weight.grad.abs().sum() > 0


def test_the_seed_decides_new_weights_and_leaves_pre_trained_ones_alone():
    begun = start()
    before = weights(begun.encoder)
    one, again, other = (build_flow(begun, seed) for seed in (0, 0, 1))
    assert same_weights(weights(one), weights(again)) and not same_weights(weights(one), weights(other))
    assert torch.equal(one.encoder.stages[1][0].weight, begun.encoder.stages[1][0].weight)
    assert same_weights(weights(begun.encoder), before)


# Flow and warping


@pytest.mark.parametrize("stride", [1, 2])
def test_a_constant_velocity_moves_everything_by_itself_in_voxels_of_the_scan(stride):
    coarse = constant((1.5, -1.0, 0.5), N // stride)[None] / stride
    torch.testing.assert_close(flow(coarse, stride)[0], constant((1.5, -1.0, 0.5)), atol=1e-5, rtol=1e-5)


def test_a_linear_velocity_grows_exponentially():
    # Along x, dp/dt = a (p - c): after unit time the distance from c is exp(a) times as long.
    rate, centre = 0.3, 16.0
    velocity = torch.zeros(1, 3, 33, 5, 5)
    velocity[0, 0] = (rate * (torch.arange(33) - centre))[:, None, None]
    moved = flow(velocity)[0, 0, 8:25, 2, 2]
    expected = (np.exp(rate) - 1) * (torch.arange(8, 25) - centre)
    torch.testing.assert_close(moved, expected.float(), atol=2e-2, rtol=2e-2)


def test_a_smooth_velocity_folds_nothing_where_its_plain_sum_does():
    x = torch.arange(33)
    velocity = torch.zeros(1, 3, 33, 5, 5)
    velocity[0, 0] = (-8 * torch.exp(-((x - 16.0) ** 2) / 18) * torch.sign(x - 16.0))[:, None, None]
    smooth = torch.nn.functional.avg_pool3d(velocity, (5, 1, 1), 1, (2, 0, 0))
    assert folded_share(smooth[0]) > 0 and folded_share(flow(smooth)[0]) == 0


def test_half_precision_around_it_changes_no_voxel():
    fields, scan = constant((0.3, 0.2, 0.1))[None], blob().data[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(flow(fields.bfloat16()), flow(fields.bfloat16().float()))
        found = warp_scans(scan, fields)
    assert found.dtype == torch.float32 and torch.equal(found, warp_scans(scan, fields))


def test_warping_fetches_a_voxel_from_where_the_field_points():
    moving = blob().data
    inner = tuple(slice(3, -3) for _ in range(3))
    expected = moving[0].roll([-s for s in SHIFT], (0, 1, 2))
    torch.testing.assert_close(
        warp_scans(moving[None], constant()[None])[0, 0][inner], expected[inner], atol=1e-5, rtol=0
    )
    labels = blob().labels * 7
    moved = warp_labels(labels, constant())
    assert moved.dtype == labels.dtype
    assert torch.equal(moved[inner], labels.roll([-s for s in SHIFT], (0, 1, 2))[inner])


def test_warped_labels_are_those_of_the_nearest_voxel():
    labels = 10 * blob().labels
    assert torch.equal(warp_labels(labels, constant((0.4, -0.4, 0.3))), labels)
    assert torch.equal(warp_labels(labels, constant((0.6, 0, 0)))[:-1], labels.roll(-1, 0)[:-1])


# Known truth


def test_known_matches_are_where_the_viewers_find_them(bodies):
    pair = Pair(bodies[1], bodies[0])
    fixed, moving = known_matches(pair, 20)
    assert (pair.fixed.labels[tuple(fixed.long().T)] > 0).all()
    expected = torch.stack([true_place(pair.fixed, point, pair.moving) for point in fixed])
    torch.testing.assert_close(moving, expected, atol=0.05, rtol=0)


def test_a_subject_matches_itself_and_a_cropped_copy_by_a_translation(bodies):
    body = bodies[0]
    fixed, moving = known_matches(Pair(body, body), 20)
    torch.testing.assert_close(fixed, moving, atol=0.05, rtol=0)
    moved = body.affine.clone()
    moved[:3, 3] += moved.diagonal()[:3] * torch.tensor(SHIFT)
    fixed, moving = known_matches(Pair(replace(body, affine=moved), body), 20)
    torch.testing.assert_close(moving + torch.tensor(SHIFT), fixed, atol=0.05, rtol=0)


@pytest.mark.parametrize("voxels", [-12, 12])
def test_no_match_lies_beyond_the_moving_scan(bodies, voxels):
    body, moved = bodies[0], bodies[0].affine.clone()
    moved[:3, 3] += voxels * moved.diagonal()[:3]
    fixed, moving = known_matches(Pair(body, replace(body, affine=moved)), 20)
    assert ((moving >= 0) & (moving <= 31)).all()
    torch.testing.assert_close(fixed + voxels, moving, atol=0.3, rtol=0)


def test_a_field_followed_by_an_affine_map_ends_at_the_known_matches(bodies):
    # The fixed copy shows another part at another scale: the match is an affine map of voxels. Voxels are 8 to 13 mm,
    # and the phantom's flow and its inverse agree within a millimetre.
    body, stretched = bodies[0], bodies[0].affine.clone()
    stretched[:3, :3] *= torch.tensor([0.9, 0.8, 0.7])
    stretched[:3, 3] += torch.tensor([5.0, -3.0, 8.0])
    pair = Pair(body, replace(body, affine=stretched))
    fixed, moving = known_matches(pair, 50)
    field, shift = constant(SHIFT, 32), torch.tensor(SHIFT).double()
    whole = torch.linalg.inv(body.affine) @ stretched
    affine = torch.cat([whole[:3, :3].T, (whole[:3, 3] - whole[:3, :3] @ shift)[None]])
    assert float(target_errors_mm(follow(field, affine), fixed, moving, body.spacing).max()) < 1.5
    assert float(target_errors_mm(field, fixed, moving, body.spacing).mean()) > 5


def test_two_warps_one_after_the_other_are_one_along_both():
    moving, field = blob().data[None], constant((1.0, 0.5, -0.5))
    affine = torch.tensor([[0.95, 0.05, 0], [0, 1.05, 0.03], [0.02, 0, 1], [1, -1, 0.5]], dtype=torch.float64)
    twice = warp_scans(warp_scans(moving, follow(torch.zeros_like(field), affine)[None]), field[None])
    once = warp_scans(moving, follow(field, affine)[None])
    inner = (..., *(slice(3, -3),) * 3)
    assert float((twice - once)[inner].abs().max()) < 0.1 < float((once - moving)[inner].abs().max())
    torch.testing.assert_close(twice[inner].mean(), once[inner].mean(), atol=2e-3, rtol=0)


def test_the_folded_share_is_that_of_the_whole_displacement(bodies):
    mirrored = torch.zeros(3, 32, 32, 32)
    mirrored[0] = -2.0 * torch.arange(32)[:, None, None]
    twice_mirrored = follow(mirrored, torch.diag(torch.tensor([-1.0, 1, 1, 1], dtype=torch.float64))[:, :3])
    ways = {"mirrored": lambda _: mirrored, "twice": lambda _: twice_mirrored}
    scores = examine(ways, bodies[:2], ("liver",), points=5)
    assert scores.of("mirrored", "folded").tolist() == [1, 1] and scores.of("twice", "folded").tolist() == [0, 0]


def test_the_scores_of_a_translation_are_those_of_geometry(bodies):
    body = bodies[0]
    moved = body.affine.clone()
    moved[0, 3] -= 2 * moved[0, 0]
    other = replace(
        body, data=body.data.roll(2, 1), labels=body.labels.roll(2, 0), affine=moved, source="the same, 2 voxels on"
    )
    right = constant((2, 0, 0), 32)
    names = tuple(body.label_names[int(i)] for i in body.labels.unique() if int(i))[:3]
    ways = {"still": no_displacement, "right": lambda pair: right if pair.fixed is body else -right}
    scores = examine(ways, [body, other], names, points=50)
    assert scores.of("still") == pytest.approx([2 * body.spacing[0]] * 2, abs=1)
    assert scores.of("right") == pytest.approx([0, 0], abs=1)
    assert (scores.of("right", "dice") > 0.95).all() and (scores.of("still", "dice") < 0.95).all()
    assert scores.of("right", "folded").tolist() == [0, 0]
    assert [row.fixed for row in scores.rows] == [body.source] * 2 + [other.source] * 2
    assert "right" in str(scores) and "still" in str(scores)
    with pytest.raises(ValueError, match="way must be one of still, right"):
        scores.of("wrong")


def test_affine_registration_finds_a_translation_again():
    moving, fixed = blob(0, 24, (12, 12, 12)), blob(1, 24, (14, 11, 12))
    field = register_affine(Pair(moving, fixed), steps=80)
    point = torch.tensor([[14.0, 11.0, 12.0]])
    errors = target_errors_mm(field, point, torch.tensor([[12.0, 12.0, 12.0]]), (1.0, 1.0, 1.0))
    assert float(errors[0]) < 1
    with pytest.raises(ValueError, match="at least 1"):
        register_affine(Pair(moving, fixed), steps=0)


def test_an_affine_map_in_voxels_is_torchs_on_its_own_axes():
    make, shape = torch.Generator().manual_seed(0), (5, 7, 9)
    theta = torch.eye(3, 4) + 0.2 * torch.randn(3, 4, generator=make)
    places = torch.nn.functional.affine_grid(theta[None], [1, 1, *shape], align_corners=True)[0].flip(-1)
    expected = (places + 1) / 2 * (torch.tensor(shape) - 1)
    still = torch.stack(torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij"), -1)
    found = follow(torch.zeros(3, *shape), in_voxels(theta.double(), shape)).movedim(0, -1) + still
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("size", "factor"), [(24, 1), (48, 2), (50, 3), (96, 4)])
def test_an_affine_map_found_on_a_small_copy_is_that_of_the_scan(size, factor):
    # A ramp is averaged without error, so that a shift of the small copy is known exactly.
    make = torch.Generator().manual_seed(0)
    theta = (torch.eye(3, 4) + 0.05 * torch.randn(3, 4, generator=make)).double()
    small = size // factor
    places = torch.nn.functional.affine_grid(theta[None], [1, 1, small, small, small], align_corners=True)[0].flip(-1)
    middles = torch.arange(small).double() * factor + (factor - 1) / 2
    still = torch.stack(torch.meshgrid(middles, middles, middles, indexing="ij"), -1)
    expected = (places + 1) / 2 * (small - 1) * factor + (factor - 1) / 2
    found = in_voxels(theta, (size,) * 3, factor)
    torch.testing.assert_close(still @ found[:3] + found[3], expected, atol=1e-9, rtol=0)


def test_the_best_affine_map_is_nearer_than_none(bodies):
    found = examine({"none": no_displacement, "best": best_affine}, bodies, ("liver",), points=100)
    assert found.of("best").mean() < found.of("none").mean()


# The task


def test_a_translation_is_learnt_without_labels():
    moving, fixed = blob(0, N, (6, 8, 8)), blob(1, N, (8, 8, 8))
    made = RegistrationTask(
        start(), Split([moving, fixed]), RegistrationConfig(window=5, affine=False, organs=("ball",))
    )
    fitted = fit(made, tiny_finetuning(steps=25, batch_size=2, learning_rate=5e-3, gauge_every=0))
    unlike = fitted.history["similarity"][1]
    assert min(unlike[-5:]) < min(unlike[:2])


def test_a_subject_is_never_paired_with_itself_and_a_draw_depends_on_its_generator_alone():
    made = task(training=3)
    seen = set()
    for seed in range(12):
        one, again = (made.sample(1, torch.Generator().manual_seed(seed)) for _ in range(2))
        assert torch.equal(one["moving"], again["moving"]) and torch.equal(one["fixed"], blob(1).data)
        seen |= {i for i in range(3) if torch.equal(one["moving"], blob(i).data)}
    assert seen == {0, 2}


def test_the_score_is_the_dice_of_warped_labels():
    made = task()
    one, other = blob(0, N, (8, 8, 8)), blob(1, N, (8, 8, 8))
    made.network.eval()
    assert made.scores([one, other]) == pytest.approx([1.0, 1.0])
    apart = blob(2, N, (5, 8, 8))
    common = int(((one.labels > 0) & (apart.labels > 0)).sum())
    expected = 2 * common / int((one.labels > 0).sum() + (apart.labels > 0).sum())
    assert made.scores([one, apart]) == pytest.approx([expected] * 2)


def test_before_it_learns_an_aligned_task_registers_as_the_affine_map_does():
    made = task(affine=True, training=2, validation=0)
    one, other = blob(0, N, (7, 8, 9)), blob(1, N, (9, 8, 8))
    pair = Pair(one, other)
    made.network.eval()
    expected = register_affine(pair)
    assert expected.abs().max() > 1
    torch.testing.assert_close(made.register(pair), expected, atol=1e-4, rtol=0)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(made.register(pair), expected, atol=1e-4, rtol=0)


def test_a_learnt_field_comes_before_the_affine_map():
    made = task(affine=True, training=2, validation=0)
    pair = Pair(blob(0, N, (7, 8, 9)), blob(1, N, (9, 8, 8)))
    made.network.eval()
    torch.nn.init.constant_(made.network.velocity.bias, 1.0)  # at stride 2: 2 voxels of the scan
    expected = follow(constant((2, 2, 2)), find_affine(pair))
    torch.testing.assert_close(made.register(pair), expected, atol=1e-3, rtol=0)


def test_training_pairs_are_aligned_once(monkeypatch):
    made, counted = task(affine=True, training=2, validation=0), []

    def halfway(pair):
        counted.append((pair.moving.source, pair.fixed.source))
        return torch.cat([torch.eye(3), torch.tensor([[2.0, 0, 0]])]).double()

    monkeypatch.setattr("voco_lite.downstream.registration.find_affine", halfway)
    examples = [made.sample(0, torch.Generator().manual_seed(i)) for i in range(3)]
    assert counted == [("blob 1", "blob 0")]
    for example in examples:
        torch.testing.assert_close(example["moving"][0, :-2], blob(1).data[0, 2:], atol=1e-5, rtol=0)
        assert torch.equal(example["fixed"], blob(0).data)


def test_validation_pairs_are_aligned_once_and_others_each_time(monkeypatch):
    made, counted = task(affine=True), []
    search = find_affine
    monkeypatch.setattr(
        "voco_lite.downstream.registration.find_affine", lambda pair: counted.append(pair) or search(pair)
    )
    made.network.eval()
    looks = [made.scores(made.split.validation) for _ in range(2)]
    assert looks[0] == looks[1] and len(counted) == 2
    made.scores([blob(100, N, (5, 8, 8)), blob(101)])
    assert len(counted) == 4


def test_affine_maps_are_not_searched_in_loader_processes():
    draws = Draws(task(affine=True), seed=0, batch_size=2)
    with pytest.raises(ValueError, match="workers=0"):
        next(iter(DataLoader(draws, batch_size=2, collate_fn=draws.collate, num_workers=1)))


def test_an_aligned_network_comes_back_from_its_file(tmp_path):
    made = task(affine=True, training=2, validation=0)
    fit(made, tiny_finetuning(steps=1, batch_size=2, run_folder=str(tmp_path)))
    loaded, pair = load_registrar(tmp_path), in_a_ring([blob(7), blob(8)])[0]
    made.network.eval()
    assert loaded.config.affine and torch.equal(loaded.register(pair), made.register(pair))


def test_a_frozen_encoder_stays_and_the_head_learns():
    made = task()
    before = weights(made.network)
    fit(made, tiny_finetuning(steps=2, batch_size=2, mode="frozen"))
    after = weights(made.network)
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith("encoder."))
    assert not torch.equal(before["velocity.weight"], after["velocity.weight"])


class Interruption(Exception):
    """Stands for a killed process."""


def test_a_resumed_run_equals_an_uninterrupted_one_and_its_network_comes_back(tmp_path):
    def stop(record, network):
        if record["step"] == 3:
            raise Interruption

    settings = {"steps": 4, "batch_size": 2, "checkpoint_every": 2}
    whole = task()
    history = fit(whole, tiny_finetuning(run_folder=str(tmp_path / "whole"), **settings)).history
    config = tiny_finetuning(run_folder=str(tmp_path / "cut"), **settings)
    with pytest.raises(Interruption):
        fit(task(), config, callbacks=[stop])
    resumed = task()
    assert trace(fit(resumed, config).history) == trace(history)
    assert same_weights(weights(resumed.network), weights(whole.network))
    loaded, pair = load_registrar(tmp_path / "cut"), in_a_ring([blob(7), blob(8)])[0]
    resumed.network.eval()
    assert (loaded.config, loaded.volume) == (resumed.config, resumed.start.volume)
    assert torch.equal(loaded.register(pair), resumed.register(pair))


def test_scratch_is_the_same_network_with_other_weights():
    split, config = Split([blob(0), blob(1)]), PretrainConfig.preset("ci")
    one, other = (RegistrationTask(untrained(config, seed), split, RegistrationConfig()).network for seed in (0, 1))
    assert isinstance(one, FlowNetwork)
    assert {n: t.shape for n, t in one.state_dict().items()} == {n: t.shape for n, t in other.state_dict().items()}
    assert same_weights(weights(one.ups), weights(other.ups)) and not same_weights(weights(one), weights(other))


# Wrong input


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"window": 4}, "window must be odd"),
        ({"window": 1}, "window must be odd"),
        ({"smoothness": -1.0}, "smoothness at least 0"),
        ({"organs": ()}, "different names"),
        ({"training": 1}, "at least 2 subjects"),
        ({"validation": 1}, "at least 2 subjects"),
    ],
)
def test_wrong_choices_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        task(**changes)


@pytest.mark.parametrize(
    ("training", "validation", "said"),
    [
        ([blob(0), blob(1, shape=(16, 16, 32))], [], "one size"),
        ([blob(0), blob(1)], [blob(2, 32), blob(3, 32)], "one size"),
        ([blob(0, 18), blob(1, 18)], [], "multiples of 4"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(training, validation, said):
    with pytest.raises(ValueError, match=said):
        RegistrationTask(start(), Split(training, validation), RegistrationConfig(organs=("ball",)))


def test_a_single_voxel_of_the_coarsest_map_is_refused_where_batch_norm_learns():
    network, scan = task().network, torch.rand(1, 1, 4, 4, 4)
    with pytest.raises(ValueError, match="larger batch_size"):
        network.train()(scan, scan)
    assert network(scan.expand(2, -1, -1, -1, -1), scan.expand(2, -1, -1, -1, -1)).shape == (2, 3, 4, 4, 4)
    assert network.eval()(scan, scan).shape == (1, 3, 4, 4, 4)


def test_scans_without_known_warps_or_common_points_are_refused(bodies):
    with pytest.raises(ValueError, match="must know its warp"):
        examine({"none": no_displacement}, [blob(0), blob(1)], ("ball",))
    with pytest.raises(ValueError, match="common points"):
        known_matches(Pair(bodies[1], bodies[0]), 10**6)
    with pytest.raises(ValueError, match="ways and subjects"):
        examine({}, bodies, ("liver",))


def test_too_few_common_points_are_counted_among_those_drawn_and_all(bodies):
    body, moved = bodies[0], bodies[0].affine.clone()
    moved[:3, 3] += 30 * moved.diagonal()[:3]
    labelled = int((body.labels > 0).sum())
    with pytest.raises(ValueError, match=f"among 80 that were drawn of {labelled} labelled voxels"):
        known_matches(Pair(body, replace(body, affine=moved)), 20)


def test_the_file_of_another_task_is_no_registrar(tmp_path):
    finetune(tiny_finetuning(steps=1, run_folder=str(tmp_path)))
    with pytest.raises(ValueError, match="another training"):
        load_registrar(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_registrar(tmp_path / "nothing")
