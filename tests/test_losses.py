"""The losses against the released code's numbers, a float64 reference in NumPy, and laws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golden_sets import cases
from voco_lite.crops import CropGrid, position_labels, sample_starts
from voco_lite.losses import position_similarity, prediction_loss, prediction_terms, regularization_loss

EPS = 1e-6


def tensor(array):
    return torch.from_numpy(np.array(array))


# The released code's numbers


@pytest.mark.parametrize("case", cases("similarity"))
def test_similarity_equals_the_released_code(case):
    found = position_similarity(tensor(case["in/feats"]), tensor(case["in/bases"]))
    torch.testing.assert_close(found, tensor(case["out/logits"]), rtol=2e-6, atol=2e-6)


RELEASED = [
    *((case, {"negative_term": "square"}) for case in cases("ce_loss_v1")),
    *((case, {}) for case in cases("ce_loss_v2")),
    *((case, {"positive_weights": "indicator", "negative_term": "square"}) for case in cases("ce_loss_old")),
]


@pytest.mark.parametrize(("case", "choices"), [pytest.param(*c.values, k, id=c.id) for c, k in RELEASED])
def test_prediction_loss_and_its_gradient_equal_the_released_code(case, choices):
    similarity = tensor(case["in/logits"]).requires_grad_()
    terms = prediction_terms(similarity, tensor(case["in/labels"]), **choices)
    terms.total.backward()
    if "out/total" in case:
        torch.testing.assert_close(
            terms.total.detach(), tensor(case["out/total"]), rtol=1e-5, atol=1e-5, check_dtype=False
        )
    else:
        for name, found in (("out/pos", terms.positive), ("out/neg", terms.negative)):
            torch.testing.assert_close(found.detach(), tensor(case[name]), rtol=1e-5, atol=1e-5, check_dtype=False)
    if "out/grad_logits" in case:
        torch.testing.assert_close(similarity.grad, tensor(case["out/grad_logits"]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", cases("reg_loss"))
@pytest.mark.parametrize(("gradient", "name"), [("earlier", "out/grad"), ("both", "out/grad_without_detach")])
def test_regularization_and_its_gradient_equal_the_released_code(case, gradient, name):
    bases = tensor(case["in/bases"]).requires_grad_()
    loss = regularization_loss(bases, gradient)
    loss.backward()
    torch.testing.assert_close(loss.detach(), tensor(case["out/loss"]).squeeze(), rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(bases.grad, tensor(case[name]), rtol=2e-6, atol=2e-6)


# An independent reference


def reference_terms(s, y, weights, negative):
    """One volume, pair by pair, in float64."""
    top = bottom = wrong = absent = 0.0
    for row_s, row_y in zip(s, y, strict=True):
        for a, b in zip(row_s, row_y, strict=True):
            w = b if weights == "overlap" else float(b > 0)
            top -= w * np.log(1 - abs(b - a) + EPS)
            bottom += w
            if b == 0:
                wrong += a * a if negative == "square" else -np.log(1 - a + EPS)
                absent += 1
    return top / (bottom + EPS), wrong / (absent + EPS)


@pytest.mark.parametrize("weights", ["overlap", "indicator"])
@pytest.mark.parametrize("negative", ["log", "square"])
def test_terms_equal_an_independent_reference_on_random_cases(weights, negative):
    generator, rng = torch.Generator().manual_seed(7), np.random.default_rng(7)
    grid = CropGrid((3, 3, 1), (16, 16, 16))
    for _ in range(250):
        labels = position_labels(sample_starts(3, grid, generator), grid)
        similarity = torch.from_numpy(rng.uniform(0, 0.999, labels.shape))
        found = prediction_terms(similarity, labels, weights, negative)
        expected = reference_terms(similarity.numpy(), labels.numpy(), weights, negative)
        np.testing.assert_allclose([float(found.positive), float(found.negative)], expected, rtol=1e-12)


def test_regularization_equals_a_loop_over_pairs():
    bases = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pairs = [(a, b) for a in range(5) for b in range(a + 1, 5)]
    cosines = [torch.nn.functional.cosine_similarity(bases[a], bases[b], dim=0).relu() for a, b in pairs]
    torch.testing.assert_close(regularization_loss(bases), torch.stack(cosines).square().mean())


# Gradients, laws, precision


def test_gradients_pass_a_numerical_check_away_from_kinks():
    generator = torch.Generator().manual_seed(3)
    crops, bases = (torch.rand(n, 6, dtype=torch.float64, generator=generator) + 0.1 for n in (2, 4))
    labels = torch.tensor([[0.3, 0.7, 0.0, 0.0], [0.0, 0.1, 0.2, 0.7]], dtype=torch.float64)
    similarity = torch.rand(2, 4, dtype=torch.float64, generator=generator) * 0.08 + 0.4
    inputs = [x.requires_grad_() for x in (crops, bases, similarity)]
    assert torch.autograd.gradcheck(position_similarity, inputs[:2])
    assert torch.autograd.gradcheck(lambda s: prediction_loss(s, labels), inputs[2:])
    assert torch.autograd.gradcheck(regularization_loss, inputs[1:2])


def test_the_right_answer_costs_nothing_and_the_wrong_one_much():
    labels = torch.tensor([[0.25, 0.75, 0.0]])
    assert abs(float(prediction_loss(labels, labels))) < 1e-5
    assert float(prediction_loss(torch.tensor([[0.0, 0.0, 1.0]]), labels)) > 13


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(0, 10_000))
def test_volumes_do_not_mix(volumes, seed):
    generator = torch.Generator().manual_seed(seed)
    crops, bases = (torch.randn(volumes, n, 5, generator=generator) for n in (2, 3))
    labels = torch.rand(volumes, 2, 3, generator=generator)
    together = prediction_loss(position_similarity(crops, bases), labels)
    alone = [prediction_loss(position_similarity(c, b), y) for c, b, y in zip(crops, bases, labels, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone))


def test_similarity_ignores_length_and_clips_opposites():
    crop = torch.tensor([[1.0, 0.0]])
    found = position_similarity(crop, torch.tensor([[5.0, 0.0], [-2.0, 0.0], [0.0, 3.0]]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0, 0.0]]))


def test_a_zero_embedding_has_similarity_zero_and_a_finite_gradient():
    crop = torch.zeros(1, 3, requires_grad=True)
    similarity = position_similarity(crop, torch.ones(2, 3))
    similarity.sum().backward()
    assert torch.equal(similarity.detach(), torch.zeros(1, 2)) and torch.isfinite(crop.grad).all()


def test_losses_keep_their_precision_under_autocast_and_with_half_inputs():
    crops = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        similarity = position_similarity(crops, crops)
        loss = prediction_loss(similarity, labels)
    assert similarity.dtype == loss.dtype == torch.float32 and torch.isfinite(loss)


def test_one_base_crop_needs_no_regularization():
    assert float(regularization_loss(torch.ones(1, 3))) == 0


def test_losses_run_on_the_meta_device():
    crops = torch.empty(2, 3, 4, device="meta")
    assert prediction_loss(position_similarity(crops, crops), torch.empty(2, 3, 3, device="meta")).shape == (2,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: position_similarity(torch.ones(2, 3), torch.ones(2, 4)), "one width, got 3 and 4"),
        (lambda: prediction_loss(torch.ones(2, 3), torch.ones(2, 4)), r"one shape, got \(2, 3\) and \(2, 4\)"),
    ],
)
def test_wrong_shapes_are_explained(call, words):
    with pytest.raises(ValueError, match=words):
        call()
