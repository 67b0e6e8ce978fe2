"""Colours that stand for something remain apart for colour-blind eyes, by Machado, Oliveira and Fernandes (2009)."""

from __future__ import annotations

import pytest
import torch
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from torch import Tensor

from voco_lite.viewers import benchmarks, curves, embeddings, rows, scene

# What an eye without one kind of cone sees of linear red, green and blue: their table for severity 1.
EYES = {
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
# Linear sRGB to CIE XYZ over the white point D65 (IEC 61966-2-1).
XYZ = torch.tensor([[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0178, 0.1095, 0.8727]]).double()
APART = 12  # CIE 1976; neighbours on a screen are told apart from 2.3 on, small marks need several times that


def seen(colours: Tensor, eye: str) -> Tensor:
    """CIE L*a*b* of sRGB colours in [0, 1] as an eye sees them."""
    linear = torch.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    xyz = (linear @ torch.tensor(EYES[eye]).double().T).clamp(0, 1) @ XYZ.T
    f = torch.where(xyz > 0.008856, xyz.clamp(min=1e-9) ** (1 / 3), 7.787 * xyz + 16 / 116)
    return torch.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


def nearest(colours: Tensor, eye: str) -> float:
    """Distance of the two most alike."""
    lab = seen(colours, eye)
    return float((torch.cdist(lab, lab) + 1000 * torch.eye(len(lab))).min())


def named(colours) -> Tensor:
    return torch.tensor([to_rgb(colour) for colour in colours]).double()


PALETTES = {
    "labels": rows.LABEL_COLOURS.double() / 255,
    "curves": named(curves._COLOURS),
    "embeddings": named(embeddings._COLOURS),
    "benchmarks": named(benchmarks._COLOURS),
}


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("palette", PALETTES)
def test_no_two_colours_look_alike(palette, eye):
    assert nearest(PALETTES[palette], eye) > APART


@pytest.mark.parametrize("eye", EYES)
def test_a_larger_share_of_a_box_looks_brighter(eye):
    shares = [scene.Box((0, 0, 0), (1, 1, 1), share / 10).colour for share in range(11)]
    assert bool((seen(torch.tensor(shares).double() / 255, eye)[:, 0].diff() > 1).all())


def test_the_usual_ten_colours_do_look_alike():
    assert min(nearest(named(colormaps["tab10"].colors), eye) for eye in EYES) < APART / 2
