"""The dictionary forms of the transforms from images to k-space."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable

from firenet_mri.monai.transforms.configuration import Configured
from firenet_mri.monai.transforms.naming import named
from firenet_mri.monai.transforms.simulate import (
    ImageToKspace,
    RandSimulateKspace,
    Simulated,
    SimulateKspace,
)
from firenet_mri.options import Options, takes_options

Data = Mapping[Hashable, Any]


class SimulateKspaced(Configured, MapTransform):
    """Dictionary form of :class:`SimulateKspace`; also writes the mask and the truth.

    Parameters
    ----------
    keys
        Keys of the images, replaced by their k-space.
    mask_key
        The mask, ([slice,] 1, *spatial) bool, is stored there; of the last key, if there are
        several.
    truth_prefix
        The image that was measured is stored under ``PREFIX_KEY``, complex64, with the operations
        that were applied to it: invert them from there.
    allow_missing_keys
        Leave out keys that are not there.
    noise_scan, **options
        See :class:`SimulateKspace`.
    """

    backend = SimulateKspace.backend

    OPTIONS: ClassVar[type[Options]] = SimulateKspace.OPTIONS
    REFUSED: ClassVar[tuple[str, ...]] = SimulateKspace.REFUSED

    @takes_options(SimulateKspace.OPTIONS)
    def __init__(
        self,
        keys: KeysCollection,
        *,
        mask_key: str = "mask",
        truth_prefix: str = "truth",
        allow_missing_keys: bool = False,
        noise_scan: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.truth_prefix = truth_prefix
        self.transform = SimulateKspace(noise_scan=noise_scan, **options)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with k-space, ``truth_KEY`` and mask."""
        result = dict(data)
        for key in self.key_iterator(result):
            with named(key):
                measured = self.transform.measure(result[key])
            _store(result, key, measured, self.mask_key, self.truth_prefix)
        return result


class RandSimulateKspaced(Configured, Randomizable, MapTransform):
    """Dictionary form of :class:`RandSimulateKspace`; all keys of an item get the same draw.

    Parameters
    ----------
    keys, mask_key, truth_prefix, allow_missing_keys
        See :class:`SimulateKspaced`.
    accelerations, snr, noise_scan, **options
        See :class:`RandSimulateKspace`.
    """

    backend = RandSimulateKspace.backend

    OPTIONS: ClassVar[type[Options]] = RandSimulateKspace.OPTIONS
    REFUSED: ClassVar[tuple[str, ...]] = RandSimulateKspace.REFUSED

    @takes_options(RandSimulateKspace.OPTIONS, without=RandSimulateKspace.REFUSED)
    def __init__(
        self,
        keys: KeysCollection,
        accelerations: Sequence[float] | float = (4.0,),
        snr: Sequence[float] | float = 40.0,
        *,
        mask_key: str = "mask",
        truth_prefix: str = "truth",
        allow_missing_keys: bool = False,
        noise_scan: bool = False,
        **options: Any,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.mask_key = mask_key
        self.truth_prefix = truth_prefix
        self.transform = RandSimulateKspace(accelerations, snr, noise_scan=noise_scan, **options)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandSimulateKspaced:
        """Make what is drawn reproducible."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(seed, state)
        return self

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with k-space, ``truth_KEY`` and mask."""
        result = dict(data)
        self.transform.randomize()
        for key in self.key_iterator(result):
            with named(key):
                measured = self.transform.measure(result[key], randomize=False)
            _store(result, key, measured, self.mask_key, self.truth_prefix)
        return result


class ImageToKspaced(Configured, MapTransform):
    """Dictionary form of :class:`ImageToKspace`.

    Parameters
    ----------
    keys
        Keys of the complex images, replaced by their k-space.
    fully_sampled, volume
        See :class:`ImageToKspace`.
    allow_missing_keys
        Leave out keys that are not there.
    """

    backend = ImageToKspace.backend

    def __init__(
        self,
        keys: KeysCollection,
        *,
        fully_sampled: bool = False,
        volume: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = ImageToKspace(fully_sampled=fully_sampled, volume=volume)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with k-space."""
        result = dict(data)
        for key in self.key_iterator(result):
            with named(key):
                result[key] = self.transform(result[key])
        return result


SimulateKspaceD = SimulateKspaceDict = SimulateKspaced
RandSimulateKspaceD = RandSimulateKspaceDict = RandSimulateKspaced
ImageToKspaceD = ImageToKspaceDict = ImageToKspaced


# MONAI's Spacingd takes every other entry "KEY_..." for the metadata of KEY, which these are not.
def _store(
    result: dict[Hashable, Any],
    key: Hashable,
    measured: Simulated,
    mask_key: str,
    truth_prefix: str,
) -> None:
    result[key] = measured.kspace
    result[f"{truth_prefix}_{key}"] = measured.truth
    result[mask_key] = measured.mask
