"""The network of `accurate` with a learned Parseval frame and learned weights.

Iteration, steps, lam's rule and ball are those of the preset; W is a paraunitary cascade that
begins at the preset's frame (:mod:`firenet_mri.operators.paraunitary`): its averages, which stay,
and several copies of its details side by side, times 1 / sqrt(copies). Whatever the parameters
become, W is a Parseval frame and the potentials are weighted norms: the problem is P3 with another
W and other w, so that duality gap and Lipschitz constants hold word for word (docs/theory.md, "A
learned frame keeps gap and constants").

A file (:mod:`firenet_mri.firenet.learned.files`) holds the parameters, "layout", "proof" (the
deviation from a Parseval frame, and the constant of the preset `accurate`) and "training" (see
:class:`~firenet_mri.firenet.learned.report.TrainingReport`). None of its claims is trusted:
filters, deviation and constant are recomputed when it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from firenet_mri.errors import DataError, UsageError
from firenet_mri.firenet.base import Trained
from firenet_mri.firenet.learned.files import is_same, load_weights_as, mapping, save_weights
from firenet_mri.firenet.learned.formats import FRAME
from firenet_mri.firenet.learned.report import TrainingReport
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.options import NetworkOptions, check_beside_frame
from firenet_mri.firenet.presets import preset_network
from firenet_mri.operators import encoding_operator
from firenet_mri.operators.base import Shape
from firenet_mri.operators.frame import Frame
from firenet_mri.operators.learned_frame import LearnedFrame
from firenet_mri.operators.paraunitary import cascade, parseval_deviation, rounded
from firenet_mri.operators.phase_coherent import PhaseCoherent
from firenet_mri.operators.stationary_cosine import StationaryCosine

VERSION = 1

_BLOCK, _AVERAGES = 3, 1

# As far as in firenet/trainable.py: nothing overflows in between.
_LARGEST_LOG = 30.0
# Other libraries round the filters differently; those that result are proven anew.
_ROUNDING = 1e-9
_LARGEST_COPIES, _LARGEST_REACH = 8, 16


@dataclass(frozen=True)
class FrameLayout:
    """What is learned of a frame.

    Parameters
    ----------
    copies
        Number of copies of the initial eight bands of details, 1 to 8.
    distances
        Of the cascade's stages, in pixels; filters have
        :func:`~firenet_mri.operators.paraunitary.reach` pixels more to either side than the start's
        3, the largest of distances that grow.
    groups
        Numbers of successive bands that are penalised together; None penalises each separately, as
        the preset `accurate` does.
    coherent
        Groups are penalised by the nuclear norm of their real and imaginary parts, see
        :class:`~firenet_mri.operators.phase_coherent.PhaseCoherent`; False: by the Euclidean norm.

    Raises
    ------
    UsageError
        If a number lies outside its range, or groups do not fit.
    """

    copies: int = 2
    distances: tuple[int, ...] = (0, 1, 2)
    groups: tuple[int, ...] | None = None
    coherent: bool = False

    def __post_init__(self) -> None:
        integers = (self.copies, *self.distances, *(self.groups or ()))
        if not all(type(number) is int for number in integers) or not self.distances:
            raise UsageError(f"{self}: all numbers must be whole, with at least one distance")
        if not 1 <= self.copies <= _LARGEST_COPIES:
            raise UsageError(f"{self.copies} copies asked for; give 1 to {_LARGEST_COPIES}")
        is_far = min(self.distances) < 0 or sum(self.distances) > _LARGEST_REACH
        if is_far or len(self.distances) > _LARGEST_REACH:
            raise UsageError(
                f"{len(self.distances)} distances asked for, {min(self.distances)} at least, with "
                f"a sum of {sum(self.distances)}; give at most {_LARGEST_REACH} numbers of at "
                f"least 0 with a sum of at most {_LARGEST_REACH}"
            )
        if self.groups is not None and (min(self.groups) < 1 or sum(self.groups) != self.bands):
            raise UsageError(f"Groups of {self.groups} bands asked for; there are {self.bands}")
        if self.coherent and self.groups is None:
            raise UsageError("Coherent sparsity asked for without groups; give groups")

    @property
    def bands(self) -> int:
        """Number of bands: the averages, then the details."""
        return _AVERAGES + self.copies * (_BLOCK**2 - _AVERAGES)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of bands of each group, one for each that is penalised by itself."""
        return (1,) * self.bands if self.groups is None else self.groups


class LearnedSparsity(nn.Module):
    """The parameters of a learned frame and its weights, and the network that they make.

    Parameters
    ----------
    layout
        What is learned.

    Notes
    -----
    Without training and without groups the network is that of the preset. Parameters are float64:
    ``skews`` (stage, angle), one rotation of the bands per stage, and ``log_weights`` (group), the
    logarithms of factors on the preset's weights.

    Examples
    --------
    >>> from firenet_mri.firenet.learned.frame import FrameLayout, LearnedSparsity
    >>> net = LearnedSparsity(FrameLayout(copies=1)).network(8, (64, 64))
    >>> net.sparsifier
    LearnedFrame(9 filters of 7 x 7, (64, 64))
    """

    start: Tensor
    start_weights: Tensor

    def __init__(self, layout: FrameLayout | None = None) -> None:
        super().__init__()
        self.layout = layout = FrameLayout() if layout is None else layout
        cosines = StationaryCosine(_BLOCK, (_BLOCK, _BLOCK))
        averages, details = cosines.kernels[:_AVERAGES], cosines.kernels[_AVERAGES:]
        start = torch.cat([averages, *[details / math.sqrt(layout.copies)] * layout.copies])
        mixed = layout.bands - _AVERAGES
        pairs = mixed * (mixed - 1) // 2
        self.register_buffer("start", start, persistent=False)
        self.register_buffer("start_weights", _start_weights(layout), persistent=False)
        zeros = torch.zeros(len(layout.distances), pairs, dtype=torch.float64)
        self.skews = nn.Parameter(zeros)
        self.log_weights = nn.Parameter(torch.zeros(len(layout.sizes), dtype=torch.float64))

    def kernels(self) -> Tensor:
        """Return the filters as they are applied, (band, y, x) float64."""
        kernels = cascade(self.start, self.skews, self.layout.distances, _AVERAGES)
        # The gradient of rounding is that of the identity.
        return kernels + (rounded(kernels) - kernels).detach()

    def weights(self) -> Tensor:
        """Return w, (band, 1, 1) float64: positive, the same for all bands of a group."""
        logs = self.log_weights.clamp(-_LARGEST_LOG, _LARGEST_LOG)
        sizes = torch.tensor(self.layout.sizes, device=logs.device)
        return (self.start_weights * torch.exp(logs)).repeat_interleave(sizes).reshape(-1, 1, 1)

    def network(
        self, coils: int, spatial_shape: Shape, options: NetworkOptions | None = None
    ) -> FIRENET:
        """Return the network for a number of coils and an image size; gradients reach it.

        Parameters
        ----------
        coils, spatial_shape
            Number of receive coils, and (y, x).
        options
            Of the preset `accurate` or `stable`; lam, budget and layers are as there.

        Raises
        ------
        UsageError
            If the options are those of another preset or have a sparsifier, or a slice is not 2D.
        """
        kernels = self.kernels()
        found = parseval_deviation(kernels)
        return _network(self.layout, kernels, found, self.weights(), coils, spatial_shape, options)

    def frozen(self, report: TrainingReport | None = None) -> LearnedFrameWeights:
        """Return what the parameters make, without gradients, for use and for a file.

        Parameters
        ----------
        report
            What it was trained on and how; None if that is not known.
        """
        numbers = {name: value.detach().cpu().clone() for name, value in self.named_parameters()}
        return LearnedFrameWeights(self.layout, numbers, report)


@dataclass(frozen=True, eq=False)
class LearnedFrameWeights:
    """A learned frame ready for use: everything proven about it is computed from its parameters.

    Parameters
    ----------
    layout
        What was learned.
    parameters
        ``skews`` and ``log_weights``, see :class:`LearnedSparsity`.
    report
        What it was trained on; stated, not proven. None if that is not known.

    Raises
    ------
    UsageError
        If parameters are missing, do not fit, or are not finite.
    """

    layout: FrameLayout
    parameters: Mapping[str, Tensor]
    report: TrainingReport | None = None

    def __post_init__(self) -> None:
        expected = {
            name: value.shape for name, value in LearnedSparsity(self.layout).named_parameters()
        }
        found = {name: value.shape for name, value in self.parameters.items()}
        if found != expected:
            raise UsageError(
                f"Parameters {_shapes(found)} came; the layout has {_shapes(expected)}"
            )
        for name, value in self.parameters.items():
            if value.dtype != torch.float64 or not bool(torch.isfinite(value).all()):
                raise UsageError(f"The parameters {name} are not finite numbers in float64")

    @property
    def trained_numbers(self) -> int:
        """How many numbers were trained."""
        return sum(value.numel() for value in self.parameters.values())

    @cached_property
    def module(self) -> LearnedSparsity:
        """The parameters as a module, for further training."""
        module = LearnedSparsity(self.layout)
        module.load_state_dict(dict(self.parameters))
        return module

    @cached_property
    def kernels(self) -> Tensor:
        """The filters, (band, y, x) float64."""
        return self.module.kernels().detach()

    @cached_property
    def weights(self) -> Tensor:
        """The weights, (band, 1, 1) float64."""
        return self.module.weights().detach()

    @cached_property
    def deviation(self) -> Fraction:
        """Proven bound of || W^H W - identity || for these filters, on images of any size."""
        return parseval_deviation(self.kernels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of layout and parameters, in hexadecimal digits."""
        found = hashlib.sha256(json.dumps(asdict(self.layout), sort_keys=True).encode())
        for _, value in sorted(self.parameters.items()):
            found.update(value.contiguous().numpy().astype("<f8").tobytes())
        return found.hexdigest()

    @property
    def trained(self) -> Trained:
        """What the network says of its weights."""
        return Trained(self.digest, self.report)

    def network(
        self, coils: int, spatial_shape: Shape, options: NetworkOptions | None = None
    ) -> FIRENET:
        """Return the network as :meth:`LearnedSparsity.network` does, without gradients."""
        numbers = self.kernels, self.deviation, self.weights
        return _network(self.layout, *numbers, coils, spatial_shape, options, self.trained)

    def lipschitz_bound(self) -> float:
        """Return the proven constant of data -> image for ||A|| <= 1, of the preset `accurate`."""
        shape = (2 * _LARGEST_REACH, 2 * _LARGEST_REACH)
        maps = torch.ones(1, *shape, dtype=torch.complex64)
        bound = self.network(1, shape).lipschitz_bound_everywhere(encoding_operator(None, maps))
        assert bound is not None
        return bound

    def proof(self) -> dict[str, float]:
        """Return what is proven of the parameters, as plain data."""
        return {"deviation": float(self.deviation), "bound": self.lipschitz_bound()}

    def save(self, path: Path) -> None:
        """Write parameters, layout, proven numbers and training into a safetensors file.

        A file that is there is replaced, when the new one is complete.

        Raises
        ------
        FileError
            If the file cannot be written.
        """
        contents = {
            "format": FRAME,
            "version": VERSION,
            "layout": asdict(self.layout),
            "proof": self.proof(),
            "training": None if self.report is None else self.report.to_dict(),
        }
        save_weights(path, self.parameters, contents)


def load_learned_frame(path: str | Path) -> LearnedFrameWeights:
    """Return the learned frame of a file, with everything proven computed again.

    ``load_learned_frame(path).network(coils, (y, x))`` is the network.

    Raises
    ------
    FileError
        If it is not such a file, has another version, was changed after it was written, or claims
        a constant that does not follow from its weights.
    """
    return load_weights_as(path, FRAME, (VERSION,), _frame_of)


def _frame_of(tensors: dict[str, Tensor], texts: dict[str, Any]) -> LearnedFrameWeights:
    """Return the frame of a file's content, after checking all of it."""
    layout = _layout(mapping(texts, "layout"))
    is_known = texts.get("training") is not None
    report = TrainingReport.from_dict(mapping(texts, "training")) if is_known else None
    loaded = LearnedFrameWeights(layout, tensors, report)
    stated, found = mapping(texts, "proof"), loaded.proof()
    if not is_same(stated, found, _ROUNDING):
        raise DataError(
            f"states {dict(stated)}, which do not follow from its weights; these have {found}"
        )
    return loaded


def _layout(record: Mapping[str, Any]) -> FrameLayout:
    try:
        groups = record["groups"]
        return FrameLayout(
            record["copies"],
            tuple(record["distances"]),
            None if groups is None else tuple(groups),
            bool(record["coherent"]),
        )
    except (KeyError, TypeError):
        raise DataError(f"its layout is {dict(record)}, which no frame has") from None


def _network(
    layout: FrameLayout,
    kernels: Tensor,
    deviation: Fraction,
    weights: Tensor,
    coils: int,
    spatial_shape: Shape,
    options: NetworkOptions | None,
    trained: Trained | None = None,
) -> FIRENET:
    """Return the preset's network with another frame and other weights."""
    chosen = NetworkOptions() if options is None else options
    check_beside_frame(chosen)
    together = layout.groups if not layout.coherent else None
    frame: Frame = LearnedFrame(kernels, spatial_shape, together, deviation)
    if layout.coherent and layout.groups is not None:
        frame = PhaseCoherent(frame, layout.groups)
    net = preset_network(coils, spatial_shape, chosen)
    return FIRENET(frame, net.lam, weights, net.schedule, ball=net.ball, trained=trained)


def _start_weights(layout: FrameLayout) -> Tensor:
    """Return the preset's weights, (group) float64, so that all copies together weigh as much."""
    of_bands = preset_network(1, (_BLOCK, _BLOCK), NetworkOptions()).weights
    assert of_bands is not None
    averages, details = of_bands.double().flatten().split([_AVERAGES, _BLOCK**2 - _AVERAGES])
    bands = torch.cat([averages, *[details / math.sqrt(layout.copies)] * layout.copies])
    return torch.stack([part.max() for part in bands.split(layout.sizes)])


def _shapes(shapes: Mapping[str, torch.Size]) -> str:
    return ", ".join(f"{name} {tuple(shape)}" for name, shape in sorted(shapes.items()))
