"""What was applied to a scan survives as text in MONAI's metadata."""

from __future__ import annotations

import pytest
import torch

from firenet_mri.errors import DataError
from firenet_mri.monai.links import links_of_text, text_of_links
from firenet_mri.operators import CyclicShift
from firenet_mri.operators.base import Part
from firenet_mri.operators.echo_planar import EchoTrainGridding, KspaceReversal
from firenet_mri.operators.links import CoilMixing


def test_links_are_the_same_after_they_were_text() -> None:
    generator = torch.Generator().manual_seed(0)
    readout = torch.randn(2, 5, 7, dtype=torch.complex128, generator=generator)
    backward = torch.rand(3, 4, generator=generator) < 0.5
    phase = torch.randn(3, 2, 5, dtype=torch.float64, generator=generator)
    matrix = torch.randn(2, 2, dtype=torch.complex128, generator=generator)
    links = (
        EchoTrainGridding(readout, backward, phase, Part("navigators")),
        EchoTrainGridding(readout[..., :5], backward, 0 * phase, None),
        KspaceReversal((3, 2, 4, 5), 2),
        CoilMixing(matrix, (4, 5), Part("mixing", from_data=True)),
    )
    found = links_of_text(text_of_links(links))
    for link, same in zip(links, found, strict=True):
        x = torch.randn(link.domain_shape, dtype=torch.complex128, generator=generator)
        assert torch.equal(same(x), link(x))
        assert same.norm_bound == link.norm_bound
        assert same.made_from == link.made_from


def test_other_links_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="CyclicShift"):
        text_of_links([CyclicShift((1, 0), (4, 4))])
