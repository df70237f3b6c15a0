"""From images to k-space: simulated scans, and the k-space of a fully sampled scan's image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import Randomizable, Transform
from monai.utils import TransformBackends, ensure_tuple
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.digests import digest_of_tensor
from firenet_mri.errors import DataError, UsageError
from firenet_mri.monai.images import PlacedImage, check_volume
from firenet_mri.monai.transforms.configuration import Configured
from firenet_mri.operators import encoding_operator
from firenet_mri.options import Options, takes_options
from firenet_mri.scan import RawScan
from firenet_mri.simulation.options import SimulationOptions
from firenet_mri.simulation.scan import simulate_with, with_phase

# Of a magnitude image's largest value: what interpolation leaves below zero.
_BELOW_ZERO = 0.01


class Simulated(NamedTuple):
    """What a simulation gives: k-space, where it was measured, and the image that was measured."""

    kspace: MetaTensor
    mask: Tensor
    truth: MetaTensor


class SimulateKspace(Configured, Transform):
    """Simulates a multi-coil scan of an image, as ``firenet simulate`` does.

    Put it and then :class:`FIRENETReconstruct` into a pipeline on images to see the effect of
    acceleration on it. The result is marked as simulated: it shows what a method does with
    simulated data, not what it would do on a scanner.

    Parameters
    ----------
    noise_scan
        Put a noise measurement into the metadata, with which :class:`FIRENETReconstruct` whitens:
        its images and bounds are then in units of the noise. Without it they are in the units of
        the image.
    **options
        The fields of :class:`firenet_mri.simulation.SimulationOptions`: coils, acceleration,
        pattern or mask, SNR, phase, volume, seed. A mask broadcasts from the right to (y, x) or
        (z, y, x), the axes of k-space. Another ``seed`` measures something else; the same image
        gives the same k-space.

    Raises
    ------
    UsageError
        If an option is unknown or out of its range.

    Examples
    --------
    >>> import torch
    >>> from firenet_mri.monai import FIRENETReconstruct, SimulateKspace
    >>> kspace = SimulateKspace(coils=4, acceleration=2, calibration=8)(torch.rand(1, 32, 48))
    >>> kspace.shape, kspace.meta["simulated"]
    (torch.Size([4, 48, 32]), True)
    >>> FIRENETReconstruct(maps="lowres", layers=2)(kspace).shape
    torch.Size([1, 32, 48])
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI's convention

    #: What ``**options`` are, and which of them mean nothing here.
    OPTIONS: ClassVar[type[Options]] = SimulationOptions
    REFUSED: ClassVar[tuple[str, ...]] = ("frames",)

    @takes_options(SimulationOptions, without=REFUSED)
    def __init__(self, *, noise_scan: bool = False, **options: Any) -> None:
        chosen = SimulationOptions.from_mapping(options, without=self.REFUSED)
        if chosen.pattern == "radial":
            raise UsageError("pattern: radial measures no grid; use firenet_mri.simulate for it")
        self.noise_scan = noise_scan
        self.options = chosen.replace(mask=None)
        self.mask = _plain_mask(chosen.mask)

    def __call__(self, image: NdarrayOrTensor) -> MetaTensor:
        """Return k-space ([slice,] coil, [z,] y, x) complex64, zero where not sampled.

        Its metadata are those of :mod:`firenet_mri.monai.scans`, with the image's position; the
        options and the SHA-256 of the image that was measured are in the certificate.

        Parameters
        ----------
        image
            (1, x, y) or (1, x, y, z), a magnitude or complex, of any of MONAI's readers or ours;
            the phase of a complex one is kept.

        Raises
        ------
        ShapeError
            If it has other axes, or several channels.
        DataError
            If it is k-space, zero everywhere, has NaN, or is real with negative values.
        UsageError
            If the centre alone has more samples than are asked for.
        """
        return self.measure(image).kspace

    def measure(self, image: NdarrayOrTensor) -> Simulated:
        """Return k-space, the mask ([slice,] 1, *spatial) bool, and the truth.

        The truth is the image that was measured, complex64, in the axes of the image that was
        given, with its affine and the operations that were applied to it.
        """
        return _measured(image, self._options(), noise_scan=self.noise_scan)

    def _options(self) -> SimulationOptions:
        """Return the options with the mask, which pickles as an array of its own."""
        return self.options if self.mask is None else self.options.replace(mask=self.mask)


class RandSimulateKspace(Configured, Randomizable, Transform):
    """Simulates another scan of an image at every call, to train with.

    It draws the acceleration, the signal-to-noise ratio and the seed, which determines pattern,
    phase and noise. ``set_random_state`` makes it reproducible. MONAI's cached datasets cache what
    precedes it.

    Parameters
    ----------
    accelerations
        One of these is drawn.
    snr
        Range from which the signal-to-noise ratio is drawn, uniformly; a number is used as it is.
    noise_scan
        See :class:`SimulateKspace`.
    **options
        The other fields of :class:`firenet_mri.simulation.SimulationOptions`, except ``seed``.

    Raises
    ------
    UsageError
        If an option is unknown or out of its range.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    OPTIONS: ClassVar[type[Options]] = SimulationOptions
    REFUSED: ClassVar[tuple[str, ...]] = ("acceleration", "mask", "seed")

    @takes_options(SimulationOptions, without=REFUSED)
    def __init__(
        self,
        accelerations: Sequence[float] | float = (4.0,),
        snr: Sequence[float] | float = 40.0,
        *,
        noise_scan: bool = False,
        **options: Any,
    ) -> None:
        choices, limits = ensure_tuple(accelerations), _range(snr)
        if not choices or len(limits) != 2 or not limits[0] <= limits[1]:
            raise UsageError(
                f"accelerations {accelerations!r} and snr {snr!r}: give at least one acceleration, "
                "and a number or a range from low to high"
            )
        lowest, highest = (float(one) for one in limits)
        chosen = SimulationOptions.from_mapping(options, without=self.REFUSED)
        self.accelerations = tuple(float(one) for one in choices)
        self.snr = lowest, highest
        self.noise_scan = noise_scan
        # Checks the ranges before anything is drawn.
        for acceleration in self.accelerations:
            chosen.replace(acceleration=acceleration, snr=lowest)
        self.options = chosen

    def randomize(self, data: Any = None) -> None:
        """Draw what the next call measures."""
        self.options = self.options.replace(
            acceleration=self.accelerations[int(self.R.randint(len(self.accelerations)))],
            snr=float(self.R.uniform(*self.snr)),
            seed=int(self.R.randint(2**31 - 1)),
        )

    def __call__(self, image: NdarrayOrTensor, randomize: bool = True) -> MetaTensor:
        """Return k-space as :class:`SimulateKspace` does.

        Parameters
        ----------
        image
            (1, x, y) or (1, x, y, z), a magnitude or complex.
        randomize
            Draw anew; otherwise measure with what was drawn last.
        """
        return self.measure(image, randomize).kspace

    def measure(self, image: NdarrayOrTensor, randomize: bool = True) -> Simulated:
        """Return k-space, mask and truth; see :meth:`SimulateKspace.measure`."""
        if randomize:
            self.randomize()
        return _measured(image, self.options, noise_scan=self.noise_scan)


class ImageToKspace(Configured, Transform):
    """Turns the complex image of a fully sampled scan back into k-space of one coil.

    It is the Fourier transform of the image, complete and with the noise of the image. It does not
    undo what the scanner combined from its coils, filtered, interpolated or corrected.
    Under-sample it with :class:`FixedKspaceMask`. The result is simulated if the image was.

    Parameters
    ----------
    fully_sampled
        True, with which you state that the image is that of a fully sampled scan: the aliasing and
        the smoothing of an accelerated reconstruction would be taken for data.
    volume
        The scan encoded the slices as one volume.

    Raises
    ------
    UsageError
        Unless ``fully_sampled`` is True.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(self, *, fully_sampled: bool = False, volume: bool = False) -> None:
        if fully_sampled is not True:
            raise UsageError(
                "ImageToKspace takes an image for what a scanner measured; say that it is that of "
                "a fully sampled scan by fully_sampled=True, or use SimulateKspace"
            )
        self.fully_sampled = True
        self.volume = volume

    def __call__(self, image: NdarrayOrTensor) -> MetaTensor:
        """Return k-space ([slice,] 1, [z,] y, x) complex64, with the image's position.

        Parameters
        ----------
        image
            (1, x, y) or (1, x, y, z) complex, as ComplexNiftiReader and ComplexDicomReader return
            it, after EnsureChannelFirst.

        Raises
        ------
        ShapeError
            If it has other axes, or several channels.
        DataError
            If it is real, k-space, zero everywhere, or has NaN.
        """
        placed = PlacedImage.of(image)
        if not placed.planes.is_complex() or not bool(placed.planes.imag.any()):
            raise DataError(
                f"{placed.name}: the image of shape {tuple(image.shape)} is real; without its "
                "phase it has another k-space than the scan: read it with ComplexNiftiReader or "
                "ComplexDicomReader and dtype=numpy.complex64, or use SimulateKspace"
            )
        check_volume(placed, volume=self.volume)
        return placed.kspace_of(self._scan(placed), volume=self.volume)

    def _scan(self, placed: PlacedImage) -> RawScan:
        ndim = 3 if self.volume else 2
        slices = placed.planes.to(torch.complex64)
        spatial = tuple(slices.shape[-ndim:])
        one_coil = torch.ones((1, *spatial), dtype=torch.complex64)
        return RawScan(
            encoding_operator(None, one_coil, ndim)(slices),
            torch.ones((1, *spatial), dtype=torch.bool),
            ndim,
            geometry=placed.geometry_of(volume=self.volume),
            name=placed.name,
            simulated=placed.is_simulated,
            record={"kspace_of_image": {"sha256": digest_of_tensor(slices)}},
        )


def _range(given: Sequence[float] | float) -> tuple[float, ...]:
    """Return lowest and highest value; a number is both."""
    values = ensure_tuple(given)
    return values * 2 if len(values) == 1 else values


def _plain_mask(mask: Any) -> NDArray[np.bool_] | str | None:
    """Return a mask as what pickles to the same bytes everywhere: an array, or a file's name."""
    if mask is None or isinstance(mask, str | Path):
        return None if mask is None else str(mask)
    return np.ascontiguousarray(torch.as_tensor(mask).cpu() != 0)


def _measured(image: NdarrayOrTensor, options: SimulationOptions, *, noise_scan: bool) -> Simulated:
    """Return a simulated scan of an image."""
    placed = PlacedImage.of(image)
    check_volume(placed, volume=options.volume)
    _check_magnitude(placed)
    scan = simulate_with(placed.planes, placed.geometry, options, name=placed.name)
    kept = scan if noise_scan else replace(scan, noise=None)
    kspace = placed.kspace_of(kept, volume=options.volume)
    truth = placed.truth(with_phase(placed.planes, options))
    if isinstance(image, MetaTensor):
        truth.applied_operations = image.applied_operations
    return Simulated(kspace, placed.mask_of(scan), truth)


def _check_magnitude(placed: PlacedImage) -> None:
    """Refuse real images with negative values: magnitudes of what is measured lose the sign."""
    slices = placed.planes
    if slices.is_complex():
        return
    lowest, highest = float(slices.min()), float(slices.max())
    if lowest < -_BELOW_ZERO * max(highest, 0.0):
        raise DataError(
            f"{placed.name}: the image has values from {lowest:.4g} to {highest:.4g}, and a "
            "magnitude has none below zero; put SimulateKspace before the intensities are "
            "normalised, or scale them to [0, 1] first; the real or imaginary part of a complex "
            "image is read with ComplexDicomReader or ComplexNiftiReader"
        )
