"""The methods that are compared, all called alike: magnitude images from k-space, mask and maps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from firenet_benchmark.stability.data import Case
from firenet_benchmark.stability.networks import Automap, combine, spread
from firenet_benchmark.stability.training import RECIPES, shipped_network
from firenet_mri.calibration import (
    calibration_region,
    low_resolution_phase,
    reference_phase,
)
from firenet_mri.digests import digest_of_file
from firenet_mri.errors import ShapeError
from firenet_mri.firenet.base import Network, Weights
from firenet_mri.firenet.learned.formats import weights_path
from firenet_mri.firenet.networks import load_weights
from firenet_mri.firenet.options import NetworkOptions, Preset
from firenet_mri.firenet.presets import preset_network
from firenet_mri.firenet.reweighting import solve_passes
from firenet_mri.operators import LinearOperator, PhaseConstrained, encoding_operator
from firenet_mri.operators.given import GivenEncoding

Family = Literal["reference", "trained", "FIRENET", "combined"]

ZERO_FILLING = "zero filling"
ACCURATE = "FIRENET accurate"
PHASE = "FIRENET accurate, phase"
SHARP = "FIRENET sharp"
STABLE = "FIRENET stable"
PAPER = "FIRENET paper"

#: Weight of the imaginary part in the methods with a phase constraint.
IMAGINARY_WEIGHT = 0.3
_PHASE_WIDTH = 24


@dataclass(frozen=True, eq=False)
class Batch:
    """Slices of one size side by side.

    Parameters
    ----------
    names
        One per slice.
    kspace, mask, maps
        (batch, coil, y, x) complex64, (batch, 1, y, x) bool, (batch, coil, y, x) complex64.
    reference, truth
        (batch, y, x) float32 and complex64; None where a slice has none.
    simulated
        Whether all of it is.
    encoding
        A user's own operator, from images (y, x) to the samples of all coils, which it takes the
        mask from; the maps are one then, of a single coil. None encodes by maps and Fourier.
    """

    names: tuple[str, ...]
    kspace: Tensor
    mask: Tensor
    maps: Tensor
    reference: Tensor | None
    truth: Tensor | None
    simulated: bool
    encoding: GivenEncoding | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, part: slice) -> Batch:
        """Return some of the slices."""
        reference, truth = (
            None if images is None else images[part] for images in (self.reference, self.truth)
        )
        tensors = (self.kspace[part], self.mask[part], self.maps[part])
        return Batch(self.names[part], *tensors, reference, truth, self.simulated, self.encoding)

    @property
    def image_shape(self) -> tuple[int, int]:
        """The size of the images, (y, x)."""
        return self.maps.shape[-2], self.maps.shape[-1]

    def samples_of(self, images: Tensor) -> Tensor:
        """Return A x of images (batch, y, x): k-space (batch, coil, y, x), zero off the mask."""
        if self.encoding is not None:
            samples: Tensor = self.encoding(images)
            return samples
        return self.mask * spread(images, self.maps)

    def zero_filled(self, kspace: Tensor) -> Tensor:
        """Return A^H y of k-space (batch, coil, y, x): images (batch, y, x) complex."""
        if self.encoding is not None:
            return self.encoding.adjoint(kspace)
        return combine(kspace * self.mask, self.maps)


def batch_of(cases: Sequence[Case]) -> Batch:
    """Return cases of one size as a batch."""

    def stacked(images: Sequence[Tensor | None]) -> Tensor | None:
        known = [image for image in images if image is not None]
        return torch.stack(known) if len(known) == len(images) else None

    return Batch(
        tuple(case.name for case in cases),
        torch.stack([case.kspace for case in cases]),
        torch.stack([case.mask for case in cases])[:, None],
        torch.stack([case.maps for case in cases]),
        stacked([case.reference for case in cases]),
        stacked([case.truth for case in cases]),
        all(case.simulated for case in cases),
    )


#: Images (batch, y, x), complex or magnitude, from slices and their k-space.
Image = Callable[[Batch, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Method:
    """One column of the comparison.

    Parameters
    ----------
    name
        For tables.
    family
        What kind it is.
    image
        Called with a batch and k-space (batch, coil, y, x), which the batch's own need not be.
    description
        One line: what it is and what it was trained with.
    parameters
        Trained numbers.
    lipschitz_bound
        Proven bound of every amplification, for fixed maps; None where there is none.
    width
        The only length of the last axis that it takes; None is any.
    is_users
        Whether a user brought it.
    absent
        Why it cannot be asked anything, such as missing weights; empty if it can.
    origin
        Where code and weights come from: file names and hashes, in words.
    needs_maps
        Whether it cannot do with an operator of the user's, in which maps are hidden.
    bound_with
        Returns the bound for an operator of the user's; None where there is none.
    """

    name: str
    family: Family
    image: Image
    description: str
    parameters: int = 0
    lipschitz_bound: float | None = None
    width: int | None = None
    is_users: bool = False
    absent: str = ""
    origin: Mapping[str, str] = field(default_factory=dict)
    needs_maps: bool = True
    bound_with: Callable[[GivenEncoding], float | None] | None = None

    def for_operator(self, encoding: GivenEncoding | None) -> Method:
        """Return the method with the bound that it has for an operator; as it is for None.

        A norm that is stated rather than proven leaves no proven bound.
        """
        if encoding is None:
            return self
        if self.bound_with is None or encoding.norm_is_stated:
            return replace(self, lipschitz_bound=None)
        return replace(self, lipschitz_bound=self.bound_with(encoding))

    def magnitude(self, batch: Batch, kspace: Tensor | None = None) -> Tensor:
        """Return (batch, y, x) float32; of the batch's own k-space if none is given.

        All images are zero where the maps are.

        Raises
        ------
        ShapeError
            If the image is not of the batch's size.
        """
        image = self.image(batch, batch.kspace if kspace is None else kspace)
        expected = (len(batch), *batch.image_shape)
        if tuple(image.shape) != expected:
            raise ShapeError(
                f"The method returned images of shape {tuple(image.shape)}; it must be {expected}"
            )
        magnitude = image.abs() if image.is_complex() else image
        return magnitude * (torch.linalg.vector_norm(batch.maps, dim=1) > 0)

    def own_copy(self) -> Method:
        """Return a copy whose networks nobody else uses at the same time."""
        return copy.deepcopy(self)


def turn_of_maps(batch: Batch) -> Tensor:
    """Return the phase by which maps are turned, (batch, y, x); it is fixed as they are.

    It is that of the data without an attack.
    """
    masks = batch.mask.expand(len(batch.kspace), *batch.mask.shape[1:])
    items = zip(batch.kspace, batch.maps, masks, strict=True)
    return torch.stack([reference_phase(*item) for item in items])


def zero_filling() -> Method:
    """Return A^H y: stable, since it ignores what was not measured."""
    return Method(
        ZERO_FILLING,
        "reference",
        Batch.zero_filled,
        "adjoint of the encoding: inverse Fourier transform, combined with the maps",
        lipschitz_bound=1.0,
        needs_maps=False,
        bound_with=lambda encoding: encoding.norm_bound,
    )


def trained_methods() -> list[Method]:
    """Return the shipped networks."""
    return [trained_method(name) for name in RECIPES]


def trained_method(name: str) -> Method:
    """Return a shipped network."""
    trained = shipped_network(name)
    recipe = trained.recipe
    noise = f", noise up to {100 * recipe.jitter:g} % of the samples" if recipe.jitter else ""
    return Method(
        name,
        "trained",
        NetworkImage(trained.network),
        f"{recipe.scans} simulated scans, {recipe.epochs} epochs{noise}",
        sum(p.numel() for p in trained.network.parameters()),
        width=len(trained.network.lines) if isinstance(trained.network, Automap) else None,
    )


@dataclass(frozen=True, eq=False)
class NetworkImage:
    """The images of a network of the benchmark."""

    network: torch.nn.Module

    def __call__(self, batch: Batch, kspace: Tensor) -> Tensor:
        """Return the images, (batch, y, x)."""
        image: Tensor = self.network(kspace, batch.mask, batch.maps)
        return image


@dataclass(frozen=True, eq=False)
class FIRENETImage:
    """The network of a preset or of trained weights, for any number of coils and any size.

    Parameters
    ----------
    preset
        See :class:`firenet_mri.firenet.options.NetworkOptions`.
    factor
        lam over the preset's own.
    imaginary_weight
        Of the phase constraint; None is without. The phase comes from the k-space that is
        reconstructed, so that an attack moves it, too.
    start
        Gives the image from which the network starts; None is zero.
    learned
        Trained weights; None is the preset's own network.
    """

    preset: Preset
    factor: float = 1.0
    imaginary_weight: float | None = None
    start: Image | None = None
    learned: Weights | None = None

    def __call__(self, batch: Batch, kspace: Tensor) -> Tensor:
        kspace = kspace * batch.mask
        turn = self._turn(batch)
        maps = batch.maps if turn is None else batch.maps * turn.unsqueeze(1)
        encoding: LinearOperator = batch.encoding or encoding_operator(batch.mask, maps)
        net = self.network(kspace.shape[-3], batch.image_shape)
        x0 = None
        if self.start is not None:
            x0 = self.start(batch, kspace)
            if not x0.is_complex():
                # A magnitude gets the phase of the zero-filled image.
                x0 = x0 * torch.sgn(encoding.adjoint(kspace))
            elif turn is not None:
                x0 = x0 * turn.conj()
        if self._options.passes > 1:
            image = self._in_passes(net, kspace, replace(batch, maps=maps))
        elif self.imaginary_weight is None:
            image = net(kspace, encoding, x0)
        else:
            phase = low_resolution_phase(kspace, batch.maps, self._widths(batch))
            constrained = PhaseConstrained(encoding, phase, self.imaginary_weight)
            image = constrained.image(net(kspace, constrained, x0))
        image = image if turn is None else image * turn
        return image * torch.linalg.vector_norm(batch.maps, dim=-3)

    def _turn(self, batch: Batch) -> Tensor | None:
        if self.imaginary_weight is not None or batch.encoding is not None:
            return None
        return turn_of_maps(batch)

    def network(self, coils: int, shape: tuple[int, ...]) -> Network:
        """Return the network, that of the first pass where there are several."""
        if self.learned is not None:
            return self.learned.network(coils, shape, self._options)
        net = preset_network(coils, shape, self._options)
        net.lam *= self.factor
        return net

    @property
    def _options(self) -> NetworkOptions:
        return NetworkOptions(preset=self.preset)

    def _in_passes(self, net: Network, kspace: Tensor, batch: Batch) -> Tensor:
        """Return the images of items one by one, whose weights an attack moves, too."""
        images = []
        for index, item in enumerate(kspace):
            mask, maps = (part[min(index, len(part) - 1)] for part in (batch.mask, batch.maps))
            encoding = batch.encoding or encoding_operator(mask, maps)
            state = solve_passes(net, item, encoding, passes=self._options.passes)[1]
            images.append(state.x)
        return torch.stack(images)

    def _widths(self, batch: Batch) -> list[int]:
        return [min(width, _PHASE_WIDTH) for width in calibration_region(batch.mask, 2)]


def firenet_method(
    name: str,
    preset: Preset,
    description: str,
    *,
    factor: float = 1.0,
    imaginary_weight: float | None = None,
) -> Method:
    """Return a FIRENET as a method; its bound is the same for all coils, sizes and lam."""
    image = FIRENETImage(preset, factor, imaginary_weight)
    maps = torch.ones(1, 64, 64, dtype=torch.complex64)
    network = image.network(1, (64, 64))
    bound = network.lipschitz_bound_everywhere(encoding_operator(None, maps))
    # Phase and weights are taken from the data, which the bound takes as given.
    is_fixed = imaginary_weight is None and NetworkOptions(preset=preset).passes == 1
    bound = bound if is_fixed else None
    return Method(
        name,
        "FIRENET",
        image,
        description,
        lipschitz_bound=bound,
        needs_maps=imaginary_weight is not None,
        bound_with=_BoundOf(image) if is_fixed else None,
    )


@dataclass(frozen=True, eq=False)
class _BoundOf:
    """The proven bound of a FIRENET for somebody's operator."""

    image: FIRENETImage

    def __call__(self, encoding: GivenEncoding) -> float | None:
        coils, shape = encoding.codomain_shape[0], encoding.domain_shape
        return self.image.network(coils, shape).lipschitz_bound_everywhere(encoding)


def trained_firenet(name: str, weights: Path, *, source: str) -> Method:
    """Return trained weights of ``firenet train`` as a user's method, with their proven constant.

    Parameters
    ----------
    name
        For tables.
    weights
        The file, or the name of one that ships.
    source
        Its name, for the report.

    Raises
    ------
    FileError
        If the file cannot be used.
    """
    learned = load_weights(weights)
    maps = torch.ones(1, 64, 64, dtype=torch.complex64)
    net = learned.network(1, (64, 64))
    image = FIRENETImage("accurate", learned=learned)
    return Method(
        name,
        "trained",
        image,
        f"trained weights of {source}, with a proven constant",
        learned.trained_numbers,
        lipschitz_bound=net.lipschitz_bound_everywhere(encoding_operator(None, maps)),
        is_users=True,
        origin={"weights": source, "weights sha256": digest_of_file(weights_path(weights))},
        needs_maps=False,
        bound_with=_BoundOf(image),
    )


def firenets() -> list[Method]:
    """Return the presets."""
    return [
        firenet_method(ACCURATE, "accurate", "the default; nothing is trained"),
        firenet_method(
            PHASE,
            "accurate",
            f"with a phase constraint, imaginary part {IMAGINARY_WEIGHT:g}; nothing is trained",
            imaginary_weight=IMAGINARY_WEIGHT,
        ),
        firenet_method(SHARP, "sharp", "a second pass, weights from the first; nothing is trained"),
        firenet_method(STABLE, "stable", "few, fast falling steps; nothing is trained"),
        firenet_method(PAPER, "paper", "the published network; nothing is trained"),
    ]


def behind(trained: Method) -> Method:
    """Return the default FIRENET that starts from another method's image."""
    own = trained.own_copy()
    return Method(
        f"FIRENET behind {trained.name}",
        "combined",
        FIRENETImage("accurate", start=own.image),
        f"the default FIRENET, started from the image of {trained.name}",
        trained.parameters,
        width=trained.width,
        origin=trained.origin,
        needs_maps=trained.needs_maps,
    )
