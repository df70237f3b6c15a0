"""The time of a layer is set beside the FFTs that it really needs."""

from __future__ import annotations

import json

import pytest
import torch

from firenet_benchmark.layers import LayerTime, layer_time, plot
from firenet_mri.errors import UsageError
from firenet_mri.firenet.presets import make_network
from firenet_mri.operators import MatrixOperator, Sense, encoding_operator

SHAPE = (12, 20)
SAMPLE = "sample_data/brain_8coil.h5"


def scan(mask: torch.Tensor) -> tuple[torch.Tensor, Sense]:
    """Return k-space of two coils with a mask, and its encoding."""
    encoding = encoding_operator(mask, torch.full((2, *SHAPE), 0.5**0.5, dtype=torch.complex64))
    return encoding(torch.ones(SHAPE, dtype=torch.complex64)), encoding


def test_axes_that_are_fully_sampled_need_no_ffts() -> None:
    points = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) < 0.5
    columns = points[:1].expand(SHAPE)
    for mask, transformed in ((points, 2), (columns, 1)):
        y, encoding = scan(mask)
        array, axes, *_ = encoding.residual(y).workload()
        assert len(axes) == transformed
        assert array.numel() == y.numel()
        assert array.is_contiguous()
    assert array.shape[-1] == SHAPE[1]


@pytest.mark.parametrize("sparsifier", ["haar", "undecimated-haar+undecimated-dct3"])
def test_times_are_positive_and_threads_are_put_back(sparsifier) -> None:
    before = torch.get_num_threads()
    y, encoding = scan(torch.ones(SHAPE, dtype=torch.bool))
    net = make_network(2, SHAPE, sparsifier=sparsifier)
    time = layer_time(net, y, encoding, threads=1, repeats=3)
    assert min(time.layer_ms, time.fft_ms, time.residual_ms, time.sparsifier_ms) > 0
    assert time.ratio == time.layer_ms / time.fft_ms
    assert torch.get_num_threads() == before


def test_other_encodings_have_no_such_floor() -> None:
    encoding = MatrixOperator(torch.eye(4, dtype=torch.complex64))
    with pytest.raises(UsageError, match="Cartesian"):
        layer_time(
            make_network(1, SHAPE), torch.ones(4, dtype=torch.complex64), encoding, threads=1
        )


def test_command_shows_every_network_and_draws_its_parts(firenet, tmp_path) -> None:
    assert firenet("benchmark", "layers", SAMPLE, "--threads", "1", "-o", tmp_path) == 0
    rows = json.loads((tmp_path / "layers.json").read_text())["rows"]
    names = [row["network"] for row in rows]
    assert names == ["haar", "db4", "undecimated-haar", "undecimated-dct3"]
    assert [row["threads"] for row in rows] == [1, 1, 1, 1]
    assert (tmp_path / "layers.png").stat().st_size > 0


def test_bars_end_at_the_ratio_of_layer_and_ffts() -> None:
    time = LayerTime("scan", "net", 1, layer_ms=4.0, fft_ms=2.0, residual_ms=2.6, sparsifier_ms=1.0)
    (panel,) = plot([time]).axes
    widths = [bar.get_width() for bar in panel.patches]
    assert widths == pytest.approx([1.0, 0.3, 0.5, 0.2])
    assert sum(widths) == pytest.approx(time.ratio)
