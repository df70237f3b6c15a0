"""The networks that users ask for by name, with parameters that need no tuning from scan to scan.

"accurate": undecimated cosines of 3 x 3 pixels, in 3D an undecimated Haar wavelet of one level, in
analysis form, with weights proportional to the norms of their functions, half for the averages, and
a slowly falling step; the grid of an orthogonal wavelet used instead is shifted from layer to
layer. "sharp": "accurate", and a second pass whose weights come from the image of the first
(firenet/reweighting.py): more detail, and no Lipschitz constant.
"stable": few and fast falling steps on the problem of "accurate" with a larger lam: a smaller
Lipschitz constant than the published network's, and less of fine detail.
"coherent": "accurate" with a part of its sparsity taken over the bands of a pixel together, which
are cheap where they share one phase; the same steps and the same Lipschitz constant.
"adaptive": the problem of "accurate", solved to a certified relative gap; no Lipschitz constant.
"paper": the published network: orthogonal Haar, level weights, ``PaperSchedule`` [1].

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022, and its published code.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.firenet.adaptive import AdaptiveSchedule
from firenet_mri.firenet.coherent import coherent_form
from firenet_mri.firenet.levels import (
    PAPER_SPARSITIES,
    LevelStructure,
    count_levels,
    level_weights,
)
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.options import LARGEST_BUDGET, NetworkOptions
from firenet_mri.firenet.promise import TheoremPromise
from firenet_mri.firenet.schedules import NetworkSchedule, PaperSchedule, Schedule
from firenet_mri.operators.base import LinearOperator, Shape
from firenet_mri.operators.sparsifier import Sparsifier, as_sparsifier
from firenet_mri.operators.sparsifiers import UNDECIMATED_HAAR, make_sparsifier
from firenet_mri.options import takes_options
from firenet_mri.plurals import counted

# The paper's experiments; the local sparsities are those of its 256 x 256 phantom, 7 Haar levels.
_PAPER_LAM = 0.00025

# At this multiple of its standard deviation the image of white noise alone just vanishes.
_NOISE_FACTOR = 1.1
# What follows was chosen once on real scans of phantoms and samples left out of a brain scan, see
# docs/performance_details.md; not tuned to a scan.
_SHARE = 0.6
# With few layers the larger lam is better.
_STABLE_SHARE = 1.0
_FLAT = "undecimated-dct3"
_AVERAGES = 0.5
_ACCURATE = NetworkSchedule(layers=50, tau=0.6, decay=0.97)
# Where the grid moves from layer to layer, small last steps average over many grids.
_SHIFTED = NetworkSchedule(layers=50, tau=1.0, decay=0.9)
# Relative sizes of perturbations, and the factor of the preset's lam that bears them best.
_BUDGETS = ((0.01, 1.0), (0.02, 2.0), (0.04, 4.0), (0.08, 8.0))
_STABLE = NetworkSchedule(layers=15, tau=1.0, decay=0.8)
# The root of the uniform undersampling that an image may make up for without calibration lines in
# the scan; with a sampled centre it stayed below 1.25 (docs/theory.md, section 3.3).
_BALL = 2.5


@takes_options(NetworkOptions, without=("weights",))
def make_network(coils: int, spatial_shape: Shape, **options: Any) -> FIRENET:
    """Return the network of a preset for a number of coils and an image size.

    Parameters
    ----------
    coils, spatial_shape
        Number of receive coils, and sizes of the 2 or 3 spatial axes.
    **options
        The fields of :class:`NetworkOptions`, except ``weights``: a trained network is what
        :func:`firenet_mri.firenet.networks.network_of` returns.

    Raises
    ------
    UsageError
        If an option is unknown or cannot be used at this size.
    """
    chosen = NetworkOptions.from_mapping(options, without=("weights",))
    if chosen.passes > 1:
        raise UsageError(
            f"The preset {chosen.preset} is {chosen.passes} passes, not one network; call "
            "reconstruct, FIRENETModel or FIRENETRecon, or take the preset accurate"
        )
    return preset_network(coils, spatial_shape, chosen)


def preset_network(coils: int, spatial_shape: Shape, options: NetworkOptions) -> FIRENET:
    """Return the network of a preset for options as one value, except for their weights.

    Of the preset "sharp" it is that of the first pass. Errors are those of :func:`make_network`.
    """
    if options.preset == "paper":
        return _paper_network(spatial_shape, options)
    # In 3D cosines have too many bands.
    usual = _FLAT if len(spatial_shape) == 2 else UNDECIMATED_HAAR
    operator = make_sparsifier(options.sparsifier or usual, spatial_shape, options.levels)
    weights = _weights(as_sparsifier(operator, spatial_shape))
    lam = options.lam
    if isinstance(lam, str):
        lam = automatic_lam(coils, operator) * _share_of(options)
    if options.preset == "coherent":
        operator, weights = coherent_form(operator, weights)
    if options.preset == "adaptive":
        return FIRENET(operator, lam, weights, _adaptive_schedule(options))
    # An orthogonal wavelet shows its grid; shifts gain up to 4 dB (docs/performance_details.md).
    shift_seed = 0 if operator.is_unitary else None
    schedule = _ACCURATE if shift_seed is None else _SHIFTED
    if options.preset == "stable":
        schedule = _STABLE
    schedule = schedule if options.layers is None else replace(schedule, layers=options.layers)
    return FIRENET(operator, lam, weights, schedule, shift_seed, ball=_BALL)


def automatic_lam(coils: int, sparsifier: LinearOperator) -> float:
    """Return the weight at which the image of white noise alone just vanishes.

    At the optimum of the square-root LASSO |(W A^H v)_i| <= lam w_i with v = r / ||r||. For a
    residual r of white noise in C coils and unit-norm maps, the left side is about
    ||b_i|| / sqrt(C N), whatever the noise level and the number of samples, with ||b_i|| the norm
    of wavelet i and N the number of pixels. So w_i is in proportion to ||b_i||, and
    lam = 1.1 ||b|| / sqrt(C N) with the finest wavelet b. A rule, not a theorem; the presets take
    the share of it that is best for images of real scans.
    """
    norm = as_sparsifier(sparsifier, sparsifier.domain_shape).band_norms.max().item()
    return _NOISE_FACTOR * norm / math.sqrt(coils * math.prod(sparsifier.domain_shape))


def lam_factor(budget: float) -> float:
    """Return the factor on a preset's lam that bears perturbations of a relative size best.

    Measured with the preset "accurate", not proven: of the factors 0.5, 1, 2, 4 and 8 the one with
    the highest PSNR under the worst perturbation found, on two validation slices of the stability
    benchmark (plugins/benchmark/tools/measure_budget.py, docs/benchmark_details.md), with straight
    lines between them in the logarithm of size and factor.

    Parameters
    ----------
    budget
        ||e|| / ||y|| of the perturbation, in (0, 0.2].

    Raises
    ------
    UsageError
        If the budget is out of its range.
    """
    if not 0 < budget <= LARGEST_BUDGET:
        raise UsageError(
            f"A budget of {budget} asked for; give a relative size in (0, {LARGEST_BUDGET}]"
        )
    sizes, factors = zip(*_BUDGETS, strict=True)
    return float(np.exp(np.interp(math.log(budget), np.log(sizes), np.log(factors))))


def _share_of(options: NetworkOptions) -> float:
    """Return the share of the automatic lam that the options mean."""
    share = _STABLE_SHARE if options.preset == "stable" else _SHARE
    return share if options.budget is None else share * lam_factor(options.budget)


def _weights(sparsifier: Sparsifier) -> Tensor | None:
    """Return weights proportional to the bands' norms; averages are not sparse and get half."""
    if sparsifier.is_unitary:
        return None
    weights = sparsifier.band_norms / sparsifier.band_norms.max()
    for band in sparsifier.average_bands:
        weights[band] *= _AVERAGES
    return weights


def _adaptive_schedule(options: NetworkOptions) -> AdaptiveSchedule:
    default = AdaptiveSchedule()
    gap, layers = options.relative_gap, options.layers
    return replace(
        default,
        relative_gap=default.relative_gap if gap is None else gap,
        max_layers=default.max_layers if layers is None else layers,
    )


def _paper_network(spatial_shape: Shape, options: NetworkOptions) -> FIRENET:
    schedule: Schedule = PaperSchedule()
    if options.layers is not None:
        restarts, rest = divmod(options.layers, PaperSchedule.inner)
        if rest or restarts < 1:
            raise UsageError(
                f"{counted(options.layers, 'layer')} asked for; the paper preset has "
                f"{PaperSchedule.inner} layers per restart, use a multiple of {PaperSchedule.inner}"
            )
        schedule = PaperSchedule(restarts=restarts)
    levels = options.levels
    if levels is None:
        levels = max(1, min(len(PAPER_SPARSITIES), int(math.log2(min(spatial_shape))) - 1))
    operator = make_sparsifier(options.sparsifier or "haar", spatial_shape, levels)
    band_levels = getattr(operator, "band_levels", None)
    if band_levels is None:
        raise UsageError(
            f"The paper preset has a weight for each wavelet level; {options.sparsifier} has no "
            "levels, use a wavelet such as haar"
        )
    # Averages join the coarsest level.
    index = (band_levels - 1).clamp(min=0)
    if options.accuracy is not None:
        return _network_of_theorem(operator, index, levels, options)
    lam = _PAPER_LAM if isinstance(options.lam, str) else options.lam
    return FIRENET(operator, lam, level_weights(_paper_sparsities(levels), index), schedule)


def _network_of_theorem(
    operator: LinearOperator, index: Tensor, levels: int, options: NetworkOptions
) -> FIRENET:
    """Return the published network with the theorem's p, n and lam for an accuracy."""
    assert options.accuracy is not None
    sizes = count_levels(index, levels)
    # A level cannot have more large coefficients than it has.
    sparsities = tuple(map(min, _paper_sparsities(levels), sizes))
    structure = LevelStructure.balanced(sparsities, sizes)
    lam = None if isinstance(options.lam, str) else options.lam
    promise = TheoremPromise(options.accuracy, structure, lam=lam)
    weights = level_weights(sparsities, index)
    return FIRENET(operator, promise.weight, weights, PaperSchedule.for_promise(promise))


def _paper_sparsities(levels: int) -> tuple[int, ...]:
    """Return the paper's local sparsities, matched at the finest level."""
    finest = PAPER_SPARSITIES[-min(levels, len(PAPER_SPARSITIES)) :]
    return finest[:1] * (levels - len(finest)) + finest
