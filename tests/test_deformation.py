"""Target error, folding and the best affine map, against closed forms, NumPy and MONAI."""

import numpy as np
import pytest
import torch
from monai.networks.blocks import Warp

from voco_lite.downstream.deformation import (
    displacement_at,
    fit_affine,
    folded_share,
    jacobian_determinant,
    target_errors_mm,
)

SIZE = (7, 8, 9)


def random_field(seed: int = 0) -> torch.Tensor:
    return torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_no_displacement_keeps_volume_and_folds_nothing():
    field = torch.zeros(3, *SIZE)
    torch.testing.assert_close(jacobian_determinant(field), torch.ones(SIZE))
    assert folded_share(field) == 0


def test_a_mirrored_axis_folds_everywhere():
    field = torch.zeros(3, *SIZE)
    field[0] = -2 * torch.arange(SIZE[0])[:, None, None]
    assert folded_share(field) == 1


def test_error_of_a_translation_is_its_length_in_mm():
    points = torch.tensor([[1.0, 2.0, 3.0], [4.5, 2.5, 6.0]])
    shift, field = torch.tensor([1.0, -2.0, 0.5]), torch.zeros(3, *SIZE)
    expected = ((1.0 * 0.5) ** 2 + (2.0 * 1.5) ** 2 + (0.5 * 4.0) ** 2) ** 0.5
    errors = target_errors_mm(field, points, points + shift, (0.5, 1.5, 4.0))
    torch.testing.assert_close(errors, torch.full((2,), expected))
    right = field + shift[:, None, None, None]
    torch.testing.assert_close(target_errors_mm(right, points, points + shift, (0.5, 1.5, 4.0)), torch.zeros(2))


def test_determinant_equals_numpy_gradients():
    field = random_field()
    slopes = np.stack([np.stack(np.gradient(part), -1) for part in field.numpy()], -2)
    expected = np.linalg.det(slopes + np.eye(3))
    np.testing.assert_allclose(jacobian_determinant(field).numpy(), expected, atol=1e-9)
    assert folded_share(field) == np.mean(expected <= 0)


def test_points_follow_the_field_as_monai_warps_an_image():
    # Warping an image of voxel indices shows where each voxel was fetched from.
    axes = [torch.arange(n, dtype=torch.float32) for n in SIZE]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    field = 0.3 * random_field().float().clamp(-1, 1)
    fetched = Warp(padding_mode="border")(places[None], field[None])[0]
    inside = (slice(None), *(slice(1, -1),) * 3)
    points = places[inside].reshape(3, -1).T
    expected = fetched[inside].reshape(3, -1).T
    torch.testing.assert_close(points + displacement_at(field, points), expected, atol=1e-4, rtol=0)


def test_the_best_affine_map_is_found_again():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(20, 3, generator=generator, dtype=torch.float64)
    matrix = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(fit_affine(points, points @ matrix[:3] + matrix[3]), matrix)


def test_wrong_input_is_refused():
    points = torch.zeros(5, 3)
    with pytest.raises(ValueError, match="field must be"):
        folded_share(torch.zeros(1, 3, *SIZE))
    with pytest.raises(ValueError, match="matching points"):
        target_errors_mm(torch.zeros(3, *SIZE), points, points[:4], (1, 1, 1))
    with pytest.raises(ValueError, match="spacing"):
        target_errors_mm(torch.zeros(3, *SIZE), points, points, (1, 0, 1))
    with pytest.raises(ValueError, match="span space"):
        fit_affine(points, points)
