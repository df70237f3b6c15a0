"""The transforms for dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from firenet_mri.calibration.methods import MapMethod
from firenet_mri.errors import DataError
from firenet_mri.io import read_maps
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.io.kspace.reading import read_with
from firenet_mri.monai.networks import ImageAxes, Output
from firenet_mri.monai.scans import kspace_of
from firenet_mri.monai.tensors import plain
from firenet_mri.monai.transforms.configuration import Configured, with_stable_arrays
from firenet_mri.monai.transforms.kspace import (
    CompressCoils,
    EstimateSensitivity,
    FixedKspaceMask,
    LoadKspace,
    Pattern,
    WhitenCoils,
)
from firenet_mri.monai.transforms.naming import named as _named
from firenet_mri.monai.transforms.reconstruct import (
    FIRENETReconstruct,
    StabilityCertificate,
)
from firenet_mri.monai.transforms.saving import SaveCertificate
from firenet_mri.options import Options, takes_options
from firenet_mri.reconstruction.given import Operators

Data = Mapping[Hashable, Any]


class LoadKspaced(Configured, MapTransform):
    """Dictionary form of :class:`LoadKspace`; also writes which samples were measured.

    Parameters
    ----------
    keys
        Keys of the files, replaced by their k-space.
    mask_key
        The mask, (*slices, 1, *spatial) bool, is stored there; of the last key, if there are
        several.
    sens_key
        The maps of ``maps_file`` are stored there, complex64 as the file has them.
    option_keys
        Options that differ from item to item, such as ``{"trajectory": "points"}``: the option's
        name and the key under which an item has its value, a file or an array.
    allow_missing_keys
        Leave out keys that are not there.
    **options
        The fields of :class:`firenet_mri.ReadOptions`, for all items.

    Raises
    ------
    UsageError
        If an option is unknown or out of its range.
    """

    backend = LoadKspace.backend

    OPTIONS: ClassVar[type[Options]] = ReadOptions
    REFUSED: ClassVar[tuple[str, ...]] = ("calibration_file", "calibration_encoding")

    @takes_options(ReadOptions, without=REFUSED)
    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "mask",
        allow_missing_keys: bool = False,
        *,
        sens_key: str = "sens_maps",
        option_keys: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.sens_key = sens_key
        self.option_keys = tuple(sorted((option_keys or {}).items()))
        self.options = with_stable_arrays(ReadOptions.from_mapping(options, without=self.REFUSED))
        known = {field.name: field.default for field in ReadOptions.fields()}
        # Says which name is unknown before any file is read.
        names = {name: known.get(name) for name, _ in self.option_keys}
        ReadOptions.from_mapping(names, without=self.REFUSED)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with k-space and mask."""
        result = dict(data)
        for key in self.key_iterator(result):
            with _named(key):
                own = {name: _of(data, where) for name, where in self.option_keys}
                options = self.options.replace(**own) if own else self.options
                scan = read_with(result[key], options)
                result[key] = kspace_of(scan)
                if options.maps_file is not None:
                    result[self.sens_key] = _maps(options.maps_file)
            # The file knows more than the samples: what was measured may be zero.
            result[self.mask_key] = scan.mask.contiguous()
        return result


class WhitenCoilsd(Configured, MapTransform):
    """Dictionary form of :class:`WhitenCoils`.

    Parameters
    ----------
    keys
        Keys of k-space.
    allow_missing_keys
        Leave out keys that are not there.
    """

    backend = WhitenCoils.backend

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = WhitenCoils()

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with whitened k-space."""
        return _map(self, data, self.transform)


class CompressCoilsd(Configured, MapTransform):
    """Dictionary form of :class:`CompressCoils`.

    Parameters
    ----------
    keys
        Keys of k-space.
    coils
        Number of virtual coils, or the share of the energy that they hold.
    allow_missing_keys
        Leave out keys that are not there.
    """

    backend = CompressCoils.backend

    def __init__(
        self, keys: KeysCollection, coils: int | float, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = CompressCoils(coils)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with k-space of virtual coils."""
        return _map(self, data, self.transform)


class EstimateSensitivityd(Configured, MapTransform):
    """Dictionary form of :class:`EstimateSensitivity`.

    Parameters
    ----------
    keys
        Keys of k-space.
    maps
        "espirit", "jsense", "lowres" or "none".
    mask_key
        Key of the sampling mask; where it is missing, the mask is found from the samples.
    sens_key
        The maps are stored there.
    allow_missing_keys
        Leave out keys that are not there.
    """

    backend = EstimateSensitivity.backend

    def __init__(
        self,
        keys: KeysCollection,
        maps: MapMethod = "espirit",
        *,
        mask_key: str = "mask",
        sens_key: str = "sens_maps",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.sens_key = sens_key
        self.transform = EstimateSensitivity(maps)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with the maps."""
        result = dict(data)
        for key in self.key_iterator(result):
            with _named(key):
                result[self.sens_key] = self.transform(result[key], result.get(self.mask_key))
        return result


class FixedKspaceMaskd(Configured, MapTransform):
    """Dictionary form of :class:`FixedKspaceMask`; replaces MONAI's mask transforms.

    Parameters
    ----------
    keys
        Keys of k-space.
    pattern, acceleration, center_fraction, seed, spatial_dims, native_complex
        See :class:`FixedKspaceMask`.
    mask_key
        The mask is stored there.
    allow_missing_keys
        Leave out keys that are not there.
    """

    backend = FixedKspaceMask.backend

    def __init__(
        self,
        keys: KeysCollection,
        pattern: Pattern | NdarrayOrTensor = "equispaced",
        *,
        acceleration: float = 4,
        center_fraction: float = 0.08,
        seed: int = 0,
        spatial_dims: int = 2,
        native_complex: bool = False,
        mask_key: str = "mask",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.transform = FixedKspaceMask(
            pattern,
            acceleration=acceleration,
            center_fraction=center_fraction,
            seed=seed,
            spatial_dims=spatial_dims,
            native_complex=native_complex,
        )

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Return a copy with ``KEY_masked``, ``KEY_masked_ifft`` and mask, as MONAI has them."""
        result = dict(data)
        for key in self.key_iterator(result):
            with _named(key):
                masked = self.transform(result[key])
            result[f"{key}_masked"] = masked.kspace
            result[f"{key}_masked_ifft"] = masked.image
            result[self.mask_key] = masked.mask
        return result


class FIRENETReconstructd(Configured, MapTransform):
    """Dictionary form of :class:`FIRENETReconstruct`.

    Parameters
    ----------
    keys
        Keys of k-space, or of what :func:`firenet_mri.read` returns.
    mask_key
        Key of the sampling mask; where it is missing, the mask is found from the samples.
    sens_key
        Key of sensitivity maps; None estimates them.
    x0_key
        Key of images to start from; None starts at zero.
    encoding_key
        Key of an encoding operator of the item's own, see :func:`firenet_mri.reconstruct`; None
        takes ``encoding``, or makes one.
    meta_key
        Key of the k-space whose metadata the image gets where the reconstructed k-space has none:
        MONAI's mask transforms lose them.
    output_postfix
        The image is stored under ``KEY_postfix``; None replaces k-space.
    allow_missing_keys
        Leave out keys that are not there.
    output, image_axes, certificate, evidence, spatial_dims, encoding, **options
        See :class:`FIRENETReconstruct`.
    """

    backend = FIRENETReconstruct.backend

    OPTIONS = FIRENETReconstruct.OPTIONS
    REFUSED = FIRENETReconstruct.REFUSED

    @takes_options(OPTIONS, without=REFUSED)
    def __init__(
        self,
        keys: KeysCollection,
        *,
        mask_key: str = "mask",
        sens_key: str | None = None,
        x0_key: str | None = None,
        encoding_key: str | None = None,
        meta_key: str | None = None,
        output_postfix: str | None = None,
        allow_missing_keys: bool = False,
        output: Output = "magnitude",
        image_axes: ImageAxes = "xyz",
        certificate: bool = False,
        evidence: bool = False,
        spatial_dims: int = 2,
        encoding: Operators | None = None,
        **options: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.sens_key = sens_key
        self.x0_key = x0_key
        self.encoding_key = encoding_key
        self.meta_key = meta_key
        self.output_postfix = output_postfix
        self.transform = FIRENETReconstruct(
            output=output,
            image_axes=image_axes,
            certificate=certificate,
            evidence=evidence,
            spatial_dims=spatial_dims,
            encoding=encoding,
            **options,
        )

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with the images."""
        result = dict(data)
        for key in self.key_iterator(result):
            with _named(key):
                image = self.transform(
                    self._with_metadata(result, key),
                    result.get(self.mask_key),
                    _of(result, self.sens_key),
                    _of(result, self.x0_key),
                    encoding=_of(result, self.encoding_key),
                )
            result[key if self.output_postfix is None else f"{key}_{self.output_postfix}"] = image
        return result

    def _with_metadata(self, data: Data, key: Hashable) -> Any:
        """Return k-space with the metadata of ``meta_key``, if that is given."""
        source = _of(data, self.meta_key)
        if source is None:
            return data[key]
        if not isinstance(source, MetaTensor):
            raise DataError(f"{self.meta_key!r} has no metadata: it is a {type(source).__name__}")
        done = source.applied_operations
        return MetaTensor(plain(data[key]), meta=source.meta, applied_operations=done)


class StabilityCertificated(Configured, MapTransform):
    """Dictionary form of :class:`StabilityCertificate`.

    Parameters
    ----------
    keys
        Keys of the images.
    kspace_key
        Key of the k-space that they were made of.
    reconstruct
        The transform that made them; None is ``FIRENETReconstruct()``.
    mask_key, sens_key
        As :class:`FIRENETReconstructd` was given them.
    allow_missing_keys
        Leave out keys that are not there.
    """

    backend = StabilityCertificate.backend

    def __init__(
        self,
        keys: KeysCollection,
        kspace_key: str,
        reconstruct: FIRENETReconstruct | None = None,
        *,
        mask_key: str = "mask",
        sens_key: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.kspace_key = kspace_key
        self.mask_key = mask_key
        self.sens_key = sens_key
        self.transform = StabilityCertificate(reconstruct)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Return a copy of the dictionary whose images have certificates."""
        result = dict(data)
        for key in self.key_iterator(result):
            with _named(key):
                result[key] = self.transform(
                    result[key],
                    _of(result, self.kspace_key),
                    result.get(self.mask_key),
                    _of(result, self.sens_key),
                )
        return result


class SaveCertificated(Configured, MapTransform):
    """Dictionary form of :class:`SaveCertificate`.

    Parameters
    ----------
    keys
        Keys of images that ``SaveImaged(..., savepath_in_metadict=True)`` has written.
    overwrite, key
        See :class:`SaveCertificate`.
    allow_missing_keys
        Leave out keys that are not there.
    """

    backend = SaveCertificate.backend

    def __init__(
        self,
        keys: KeysCollection,
        *,
        overwrite: bool = False,
        key: str | Path | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = SaveCertificate(overwrite=overwrite, key=key)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Return a copy of the dictionary, once the files are written."""
        return _map(self, data, self.transform)


LoadKspaceD = LoadKspaceDict = LoadKspaced
WhitenCoilsD = WhitenCoilsDict = WhitenCoilsd
CompressCoilsD = CompressCoilsDict = CompressCoilsd
EstimateSensitivityD = EstimateSensitivityDict = EstimateSensitivityd
FixedKspaceMaskD = FixedKspaceMaskDict = FixedKspaceMaskd
FIRENETReconstructD = FIRENETReconstructDict = FIRENETReconstructd
SaveCertificateD = SaveCertificateDict = SaveCertificated
StabilityCertificateD = StabilityCertificateDict = StabilityCertificated


def _map(
    mapped: MapTransform, data: Data, transform: Callable[[Any], MetaTensor]
) -> dict[Hashable, Any]:
    """Return a copy of the dictionary in which a transform was applied to its keys."""
    result = dict(data)
    for key in mapped.key_iterator(result):
        with _named(key):
            result[key] = transform(result[key])
    return result


def _maps(source: Path | NdarrayOrTensor) -> Tensor:
    """Return sensitivity maps (..., coil, *spatial) from a file or an array."""
    return read_maps(source) if isinstance(source, Path) else plain(source, "maps_file")


def _of(data: Data, key: str | None) -> Any:
    """Return the entry of a key that was requested by name; None if none was."""
    if key is None:
        return None
    if key not in data:
        raise DataError(f"{key!r} is missing; the dictionary has {', '.join(map(str, data))}")
    return data[key]
