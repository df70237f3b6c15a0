"""The width of an abrupt event in a reconstructed series, on curves whose width is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from firenet_benchmark.cine.edge import IDEAL, Event, curve_of, edge_of, mean_edge
from firenet_benchmark.cine.phantom import simulated_series
from firenet_mri.errors import UsageError

FRAME = 13


def step(frames: int = 25, frame: int = FRAME) -> torch.Tensor:
    """Return 0 before a frame, and 1 from it on."""
    return (torch.arange(frames) >= frame).double()


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_a_step_that_is_averaged_over_frames_has_eight_tenths_of_them(length) -> None:
    padded = np.pad(step().numpy(), length, mode="edge")
    averaged = np.convolve(padded, np.ones(length) / length, "same")[length:-length]
    width, height = edge_of(torch.from_numpy(averaged), FRAME)
    assert width == pytest.approx(IDEAL * length)
    assert height == pytest.approx(1)


def test_an_exponential_rise_has_the_width_that_its_crossings_have() -> None:
    # 1 - r^k after k frames: 90 % lies between the frames 3 and 4, 10 % before the first.
    rise = torch.where(step(41) > 0, 1 - 0.5 ** (torch.arange(41.0).double() - FRAME + 1), 0.0)
    begins, ends = 0.1 / 0.5, 3 + (0.9 - 0.875) / 0.0625
    # The median over the frames behind it is 2^-13 below 1, which moves its 90 % by .002 at most.
    assert edge_of(rise, FRAME).width == pytest.approx(ends - begins, abs=2e-3)
    # One that begins early instead, as in a mirror.
    early = edge_of(1 - rise.flip(0), 41 - FRAME).width
    assert early == pytest.approx(ends - begins, abs=2e-3)


def test_frames_beside_the_event_and_at_the_ends_belong_to_no_plateau() -> None:
    curve = torch.tensor([0.3, 0.3, 0, 0, 0.2, 0.3, 0.8, 0.8, 1, 1, 0.7, 0.7], dtype=torch.float64)
    width, height = edge_of(curve, 6)
    assert height == 1
    # From .1 between the frames 3 and 4 to .9 between 7 and 8.
    assert width == pytest.approx(7.5 - 3.5)


@pytest.mark.parametrize(("gain", "offset"), [(0.3, 0.2), (1.7, -4.0)])
def test_width_is_that_of_the_step_between_its_own_plateaus(gain, offset) -> None:
    curve = torch.nn.functional.avg_pool1d(step(27)[None], 3, 1)[0]
    width, height = edge_of(gain * curve + offset, FRAME)
    assert width == pytest.approx(3 * IDEAL)
    assert height == pytest.approx(gain)


def test_a_step_that_does_not_come_out_is_infinitely_wide() -> None:
    assert edge_of(torch.zeros(25), FRAME).width == math.inf
    assert edge_of(1 - step(), FRAME).width == math.inf
    # It is in the mean, too, rather than left out.
    event = Event(FRAME, torch.zeros(25, 1, 1), torch.ones(25, 1, 1))
    found = mean_edge(torch.zeros(25, 1, 1), [event, event])
    assert found is not None
    assert found.width == math.inf


def test_what_else_goes_on_is_no_part_of_an_event() -> None:
    series = simulated_series("abrupt", 25, 32, seed=3)
    truth = series.images.abs()
    assert [event.frame for event in series.events] == [8, 12, 16]
    for event in series.events:
        expected = step(25, event.frame)
        torch.testing.assert_close(curve_of(truth, event), expected, atol=1e-5, rtol=0)
    ideal = mean_edge(truth, series.events)
    assert ideal is not None
    assert ideal == pytest.approx((IDEAL, 1), abs=1e-4)
    # An average over three frames is seen as such, though the heart beats and breathes.
    smooth = (truth.roll(1, 0) + truth + truth.roll(-1, 0)) / 3
    blurred = mean_edge(smooth, series.events)
    assert blurred is not None
    assert blurred.width == pytest.approx(3 * IDEAL, rel=0.05)
    assert mean_edge(truth, ()) is None


def test_a_series_too_short_for_plateaus_is_refused() -> None:
    with pytest.raises(UsageError, match="14 frames asked for; abrupt events need at least 15"):
        simulated_series("abrupt", 14, 16, 0)
    series = simulated_series("abrupt", 15, 16, 0)
    assert mean_edge(series.images.abs(), series.events) == pytest.approx((IDEAL, 1), abs=1e-4)
